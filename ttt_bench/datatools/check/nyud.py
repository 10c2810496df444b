"""What is particular to the checks of NYUD-v2."""

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
from ttt_bench.datatools.check.axes import Verdict
from ttt_bench.datatools.check.conventions import free_camera, measured_by_depth
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native
from ttt_bench.datatools.check.listed import Subject
from ttt_bench.datatools.check.values import Depths, Shares, Vectors
from ttt_bench.util.progress import Progress

_WINDOW = (5, 0.02)  # radius and bend; the sensor's depth is noisy, and comes in steps
_FRAME = 8  # outer pixels
_SAME = 8.0  # of 255
_FRAMED = 0.5  # share of the outer pixels that have one grey


def camera(size: tuple[int, ...]) -> tuple[Point | None, Point]:
    """The colour camera's focal lengths and principal point, for whole and for cropped frames."""
    if tuple(size) == WHOLE:
        return FOCAL, CENTRE
    if tuple(size) == CROPPED:
        return FOCAL, (CENTRE[0] - CROP[1].start, CENTRE[1] - CROP[0].start)
    return free_camera(size)


def framed(picture: NDArray[Any]) -> bool:
    """Whether the outer 8 pixels of a picture (H, W, 3) of 0..255 are mostly one grey that is
    rare within.
    """
    if min(picture.shape[:2]) <= 4 * _FRAME:
        return False
    outer = np.ones(picture.shape[:2], dtype=np.bool_)
    outer[_FRAME:-_FRAME, _FRAME:-_FRAME] = False
    colour = np.median(picture[outer].astype(np.float32), axis=0)
    near: Mask = np.asarray((np.abs(picture - colour) <= _SAME).all(axis=2))
    grey = np.ptp(colour) <= _SAME
    return bool(grey and near[outer].mean() >= _FRAMED and near[~outer].mean() < _FRAMED / 2)


def axes(sets: Sequence[Frameset], progress: Progress) -> Verdict | None:
    """Measured with depth and the known camera."""
    if not all("depth" in part.parts for part in sets):
        return None
    return measured_by_depth(sets, lambda metres: metres > 0, camera, _WINDOW, progress)


class NyudValues:
    """Ranges over the frames that were decoded."""

    def __init__(self) -> None:
        self._depths, self._vectors, self._edges = Depths(), Vectors(), Shares()
        self._framed: dict[str, int] = {IMAGE: 0, "normals": 0}
        self._seen = 0

    def add(self, native: Native) -> None:
        self._seen += 1
        self._framed[IMAGE] += framed(native[IMAGE])
        if "depth" in native:
            self._depths.add(native["depth"], native["depth"] > 0)
        if "normals" in native:
            self._vectors.add(native["normals"])
            normals = native["normals"]
            self._framed["normals"] += framed(
                normals if normals.dtype == np.uint8 else 127.5 + 127.5 * normals
            )
        if "edge" in native:
            self._edges.add(native["edge"])

    def findings(self, frames: Frameset) -> Iterator[Finding]:
        yield from self._depths.findings(
            frames, "0", "depth is not in metres; take it from the archive again"
        )
        yield from self._vectors.findings(
            frames, "these are not unit vectors; take them from the archive again"
        )
        yield from self._edges.findings(frames)
        for part, count in self._framed.items():
            if 2 * count > self._seen:
                message = (
                    f"{part}: border present: not cropped ({count} of {self._seen} frames have one grey in the outer "
                    f"{_FRAME} pixels); the published results use images without it. `ttt-bench data prepare nyud "
                    "--crop` cuts it off where frames are 480x640"
                )
                yield Finding("warning", "values", message, frames.example(part), count)


SUBJECT = Subject(NYUD, {"nyud": "semseg"}, release, NyudValues, axes)
