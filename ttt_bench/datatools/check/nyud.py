"""The checks that only NYUD-v2 needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.geometry import Point
from ttt_bench.data.images.normals import Mask
from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.nyud.camera import CENTRE, CROP, FOCAL
from ttt_bench.data.nyud.dataset import NYUD
from ttt_bench.data.nyud.index import CROPPED, WHOLE, release
from ttt_bench.datatools.check.agreement.colours import Colours
from ttt_bench.datatools.check.agreement.contours import (
    depth_contours,
    edge_contours,
    label_contours,
    normal_contours,
)
from ttt_bench.datatools.check.conventions import (
    DepthRule,
    Measurement,
    free_camera,
    measure_with_depth,
)
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native, read_sample
from ttt_bench.datatools.check.labels.lowered import LoweredIds
from ttt_bench.datatools.check.labels.steps import LabelSteps
from ttt_bench.datatools.check.listed import CheckedSet
from ttt_bench.datatools.check.values import DepthValues, EdgeValues, NormalValues
from ttt_bench.util.progress import Progress

_FARTHEST = 10.5  # metres; the largest depth of the published files is 10
_MOST_FAR = 0.001  # share of pixels
_FRAME = 8  # width of the border in pixels
_SAME = 8.0  # difference of two greys out of 255
_FRAMED = 0.5  # share of the pixels of the border that have one grey


def camera(size: tuple[int, ...]) -> tuple[Point | None, Point]:
    """Return the colour camera's focal lengths and principal point for frames of this size."""
    if tuple(size) == WHOLE:
        return FOCAL, CENTRE
    if tuple(size) == CROPPED:
        return FOCAL, (CENTRE[0] - CROP[1].start, CENTRE[1] - CROP[0].start)
    return free_camera(size)


_DEPTH_RULE = DepthRule(lambda metres: metres > 0, camera, radius=5, bend=0.02)
"""A wide window, because the depth of the sensor is noisy and quantised."""


def has_border(picture: NDArray[Any]) -> bool:
    """Return whether a picture (H, W, 3) of 0..255 has a border of one grey that is rare inside."""
    if min(picture.shape[:2]) <= 4 * _FRAME:
        return False
    outer = np.ones(picture.shape[:2], dtype=np.bool_)
    outer[_FRAME:-_FRAME, _FRAME:-_FRAME] = False
    colour = np.median(picture[outer].astype(np.float32), axis=0)  # (N, 3) -> (3,)
    near: Mask = np.asarray((np.abs(picture - colour) <= _SAME).all(axis=2))  # (H, W)
    grey = np.ptp(colour) <= _SAME
    return bool(grey and near[outer].mean() >= _FRAMED and near[~outer].mean() < _FRAMED / 2)


def measure_axes(sets: Sequence[Frameset], progress: Progress) -> Measurement | None:
    """Measure the normal axes with depth and the known camera; return None without depth."""
    if not all("depth" in frames.parts for frames in sets):
        return None
    return measure_with_depth(sets, _DEPTH_RULE, progress)


def check_labels(sets: Sequence[Frameset], axes: str, progress: Progress) -> Iterator[Finding]:
    """Yield a warning if the ids were lowered by one.

    Args:
        axes: the axes of the files' normals.
    """
    if not all({"semseg", "normals"} <= set(frames.parts) for frames in sets):
        return
    ids = LoweredIds(axes)
    for native in read_sample(sets, ("semseg", "normals"), "looking for floors", progress):
        ids.add(native["semseg"], native["normals"])
    yield from ids.findings(sets[0].example("semseg"))


class NyudValues:
    """The values of the decoded frames."""

    def __init__(self) -> None:
        self._depth, self._normals, self._edges = DepthValues(), NormalValues(), EdgeValues()
        self._bordered: dict[str, int] = {IMAGE: 0, "normals": 0}
        self._colours, self._steps = Colours(), LabelSteps("semseg")
        self._far: list[float] = []
        self._seen = 0

    def add(self, native: Native) -> None:
        """Add the arrays of a frame."""
        self._seen += 1
        self._bordered[IMAGE] += has_border(native[IMAGE])
        self._colours.add(native[IMAGE])
        if "semseg" in native:
            self._steps.add(native["semseg"])
        if "depth" in native:
            self._depth.add(native["depth"], native["depth"] > 0)
            self._far.append(float((native["depth"] > _FARTHEST).mean()))
        if "normals" in native:
            normals = native["normals"]
            self._normals.add(normals)
            picture = normals if normals.dtype == np.uint8 else 127.5 + 127.5 * normals
            self._bordered["normals"] += has_border(picture)
        if "edge" in native:
            self._edges.add(native["edge"])

    def findings(self, frames: Frameset) -> Iterator[Finding]:
        """Yield the results."""
        yield from self._depth.findings(
            frames, "0", "depth is not in metres; take it from the archive again"
        )
        if self._far and np.mean(self._far) > _MOST_FAR:
            message = (
                f"depth: {np.mean(self._far):.1%} of the pixels are above {_FARTHEST} m, which the "
                "sensor cannot measure: depth is not in metres (feet?); take it from the archive "
                "again"
            )
            yield Finding.warning("values", message, frames.example("depth"), about="depth")
        yield from self._normals.findings(
            frames, "these are not unit vectors; take them from the archive again"
        )
        yield from self._edges.findings(frames)
        yield from self._colours.findings(frames.example(IMAGE))
        if "semseg" in frames.parts:
            yield from self._steps.findings(frames.example("semseg"))
        for part, count in self._bordered.items():
            if 2 * count > self._seen:
                message = (
                    f"{part}: border present: not cropped ({count} of {self._seen} frames have one "
                    f"grey in the outer {_FRAME} pixels); the published results use images without "
                    "it. `ttt-bench data prepare nyud --crop` removes it from frames of 480x640"
                )
                yield Finding.warning("values", message, frames.example(part), count)


CONTOURS = {
    "semseg": label_contours,
    "depth": lambda metres: depth_contours(metres, metres > 0),
    "normals": normal_contours,
    "edge": edge_contours,
}
"""The contour maps of the parts."""

CHECKED = CheckedSet(
    dataset=NYUD,
    labels={"nyud": "semseg"},
    form=release,
    values=NyudValues,
    measure_axes=measure_axes,
    contours=CONTOURS,
    check_labels=check_labels,
)
