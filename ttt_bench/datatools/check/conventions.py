"""Measure the normal axes of a data set, on up to twelve frames, or of a single normal map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.files import RGB, Problem, read_image, read_npy
from ttt_bench.data.images.geometry import Point, middle, surface_slopes
from ttt_bench.data.images.normals import HARNESS_AXES, NYUD_AXES, Mask, file_vectors
from ttt_bench.data.pascal.ids import FLOOR, normals_valid
from ttt_bench.datatools.check.axes import (
    AxesVerdict,
    depth_angles,
    describe_axes,
    floor_cosines,
    judge_with_depth,
    judge_without_depth,
    outliers,
    shares_away,
)
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native, sample_frames
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress

FRAMES = 24
"""Number of frames on which axes are measured."""

_FLOORS_TRIED = 300  # label maps that are searched for `FRAMES` pictures of a floor
_LEAST_FLOOR = 0.01  # share of a picture

Camera = Callable[[tuple[int, ...]], tuple[Point | None, Point]]
"""Map the size of a picture to its focal lengths, None if unknown, and its principal point."""


class DepthRule(NamedTuple):
    """How normals are computed from the depth maps of a data set.

    Attributes:
        valid: returns the pixels of a depth map that can be trusted.
        camera: the camera of the data set.
        radius: radius in pixels of the window to which a plane is fitted.
        bend: share by which inverse depth may differ from its plane.
    """

    valid: Callable[[NDArray[Any]], Mask]
    camera: Camera
    radius: int
    bend: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The axes of a data set's normal maps.

    Attributes:
        verdict: the axes that the frames allow.
        frames: the number of frames that were measured.
        others: the frames that do not have the decided axes.
        need: what a frame must fulfil to have the axes, for the message on the others.
    """

    verdict: AxesVerdict
    frames: int
    others: tuple[Problem, ...] = ()
    need: str = ""


class _Frame(NamedTuple):
    """A frame that can be read, with its normal map's file."""

    native: Native
    place: Problem


class _FloorView(NamedTuple):
    """The measurements on one picture; None if the picture does not allow one."""

    away: NDArray[Any] | None
    floor: NDArray[Any] | None


def measure_with_depth(
    sets: Sequence[Frameset], rule: DepthRule, progress: Progress
) -> Measurement | None:
    """Compare normal maps with normals from depth; return None if no frame allows it."""
    found, places = [], []
    for native, place in _frames(sets, ("normals", "depth"), FRAMES, progress):
        angles = _angles_on(native, rule)
        if angles is not None:
            found.append(angles)
            places.append(place)
    if not found:
        return None
    verdict = judge_with_depth(found)
    need = "differ from the normals computed from their depth"
    return _measurement(verdict, found, places, need, with_depth=True)


def free_camera(size: tuple[int, ...]) -> tuple[None, Point]:
    """Return a camera of unknown focal length with its principal point in the middle."""
    return None, middle(size)


def measure_without_depth(
    sets: Sequence[Frameset], context: str, progress: Progress
) -> Measurement | None:
    """Use that visible surfaces face the camera and floors face up; None if no frame allows it.

    Args:
        context: the part with the PASCAL-Context labels, which tell floors and trusted pixels.
    """
    seen: list[NDArray[Any]] = []
    places: list[Problem] = []
    floors: list[NDArray[Any]] = []
    for native, place in _frames(sets, (context, "normals"), _FLOORS_TRIED, progress):
        labels = native[context]
        shows_floor = (labels == FLOOR).mean() >= _LEAST_FLOOR
        if native["normals"].shape[:2] != labels.shape:
            continue
        if not shows_floor and len(seen) >= FRAMES:
            continue
        view = _floor_view(native["normals"], labels)
        if view.away is not None:
            seen.append(view.away)
            places.append(place)
        if view.floor is not None:
            floors.append(view.floor)
        if len(floors) >= FRAMES:
            break
    if not seen:
        return None
    verdict = judge_without_depth(seen, floors)
    need = "have many vectors that point away from the camera"
    return _measurement(verdict, seen, places, need, with_depth=False)


def _measurement(
    verdict: AxesVerdict,
    pictures: Sequence[NDArray[Any]],
    places: Sequence[Problem],
    need: str,
    *,
    with_depth: bool,
) -> Measurement:
    """Return a measurement with the frames that do not have the decided axes."""
    if verdict.axes is None:
        return Measurement(verdict=verdict, frames=len(pictures))
    wrong = outliers(pictures, verdict.axes, with_depth=with_depth)
    others = tuple(places[at] for at in wrong)
    return Measurement(verdict=verdict, frames=len(pictures), others=others, need=need)


def measure_map(path: Path) -> AxesVerdict:
    """Return the axes that a single normal map allows: an RGB picture or an array of vectors.

    Raises:
        DataError: the file cannot be read, or has too few vectors.
    """
    normals = read_npy(path) if path.suffix == ".npy" else read_image(path, RGB)
    if normals.ndim != 3 or normals.shape[2] != 3:
        raise DataError(
            f"{path}: an array of shape {normals.shape}, expected a normal map (H, W, 3); "
            "give the file of a normal map"
        )
    vectors = file_vectors(normals)
    shares = shares_away(vectors, _nonzero(vectors))
    if shares is None:
        raise DataError(f"{path}: too few vectors to measure their axes; give another normal map")
    return judge_without_depth([shares])


def check_axes(
    measured: Measurement | None, used: str, path: Path, *, stored: bool, trusted: bool = True
) -> Iterator[Finding]:
    """Yield the result of a measurement, and the frames that contradict it.

    Args:
        used: the axes that loaders use until other ones are stored.
        path: an example file.
        stored: whether the measured axes are stored now.
        trusted: whether no other check doubts the depth or the normals.
    """
    if measured is None:
        message = (
            "normal axes: no frame has enough normals to measure them; "
            f"loaders use {used}. Check a folder with more frames"
        )
        yield Finding.warning("conventions", message, path)
        return
    verdict = measured.verdict
    if verdict.axes is None:
        message = (
            f"normal axes cannot be decided ({verdict.words}); possible: {verdict.channels}. "
            f"Loaders use {used}"
        )
        yield Finding.warning("conventions", message, path)
    else:
        yield _decided(verdict, used, path, stored=stored, trusted=trusted or verdict.exact)
    if measured.others:
        names = ", ".join(place.message for place in measured.others[:3])
        message = (
            f"normals: {len(measured.others)} of {measured.frames} frames {measured.need}, though "
            f"the others do not, such as {names}; replace the files of these frames"
        )
        yield Finding.warning("conventions", message, measured.others[0].path, len(measured.others))


def _decided(
    verdict: AxesVerdict, used: str, path: Path, *, stored: bool, trusted: bool
) -> Finding:
    """Return the finding on axes that are decided."""
    message = f"normal axes: {describe_axes(verdict.axes or used)}, measured: {verdict.words}"
    if not trusted:
        message += (
            ". They are not stored, because depth or normals are doubted (see the other warnings); "
            f"loaders use {used}"
        )
        return Finding.warning("conventions", message, path)
    good = stored or verdict.axes == used
    if not good:
        message += (
            f". Loaders use {used} until the measured axes are stored: "
            "run `ttt-bench data check` without --dry-run"
        )
    return Finding.ok_if(good, "conventions", message, path)


def axes_entry(measured: Measurement | None, *, trusted: bool) -> dict[str, str]:
    """Return the manifest's entry of the measured axes; empty if they are not decided.

    Args:
        trusted: as for `check_axes`.
    """
    if measured is None or measured.verdict.axes is None:
        return {}
    if not (trusted or measured.verdict.exact):
        return {}
    return {"normal_axes": measured.verdict.axes}


def check_map(path: Path) -> list[Finding]:
    """Return the findings on a single normal map.

    Its axes are good if they are the default of Taskonomy or of the other data sets.
    """
    try:
        verdict = measure_map(path)
    except DataError as error:
        return [Finding.error("files", str(error), path)]
    if verdict.axes is None:
        used = f"{HARNESS_AXES} or {NYUD_AXES}"
        return list(check_axes(Measurement(verdict=verdict, frames=1), used, path, stored=False))
    usual = verdict.axes in (HARNESS_AXES, NYUD_AXES)
    message = f"normal axes: {describe_axes(verdict.axes)}, measured without depth: {verdict.words}"
    if not usual:
        message += (
            f". Loaders use {HARNESS_AXES} (Taskonomy) or {NYUD_AXES} (NYUD-v2, PASCAL-Context) "
            "unless `ttt-bench data check` of the whole data set has stored the measured axes"
        )
    return [Finding.ok_if(usual, "conventions", message, path)]


def _angles_on(native: Native, rule: DepthRule) -> NDArray[Any] | None:
    """Return the `depth_angles` of a frame, or None if it does not allow a measurement."""
    depth = native["depth"].astype(np.float64)
    if native["normals"].shape[:2] != depth.shape or min(depth.shape) <= 2 * rule.radius:
        return None
    focal, centre = rule.camera(depth.shape)
    slopes, kept = surface_slopes(
        depth, rule.valid(native["depth"]), centre, rule.radius, rule.bend
    )
    vectors = file_vectors(native["normals"])
    angles: NDArray[Any] | None = depth_angles(vectors, slopes, kept & _nonzero(vectors), focal)
    return angles


def _floor_view(normals: NDArray[Any], labels: NDArray[Any]) -> _FloorView:
    """Measure a picture: the vectors that point away, and those on floors if it shows one."""
    vectors = file_vectors(normals)
    valid, floor = _nonzero(vectors), labels == FLOOR
    away = shares_away(vectors, valid & normals_valid()[labels])
    if floor.mean() >= _LEAST_FLOOR and (floor & valid).any():
        return _FloorView(away, floor_cosines(vectors, floor & valid))
    return _FloorView(away, None)


def _nonzero(vectors: NDArray[Any]) -> Mask:
    """Return where vectors (3, H, W) are not zero, as (H, W)."""
    return np.asarray((vectors != 0).any(axis=0))


def _frames(
    sets: Sequence[Frameset], parts: tuple[str, str], most: int, progress: Progress
) -> Iterator[_Frame]:
    """Yield the frames of an evenly spread sample that can be read."""
    sample = sample_frames(sets, most)
    with progress.bar("measuring normal axes", len(sample)) as bar:
        for frames, index in sample:
            native = None
            with suppress(DataError):  # reported where files are decoded
                native = frames.read(index, parts)
            if native is not None:
                name = frames.frames.name(index)
                yield _Frame(native, Problem(frames.frames.path(index, "normals"), name))
            bar.advance()
