"""Normal axes of a data set, measured on a dozen frames, and of a single map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.files import RGB, read_npy, read_picture
from ttt_bench.data.images.geometry import Point, middle, surface_slopes
from ttt_bench.data.images.normals import HARNESS_AXES, NYUD_AXES, Mask, file_vectors
from ttt_bench.data.pascal.ids import FLOOR, normals_valid
from ttt_bench.datatools.check.axes import (
    Verdict,
    away,
    by_depth,
    by_sight,
    depth_angles,
    in_words,
    upwards,
)
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native, sampled
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress

FRAMES = 12
"""Frames that axes are measured on."""

_FLOORS_TRIED = 300  # label maps looked at for a dozen with a floor
_LEAST_FLOOR = 0.01  # share of a picture

Camera = Callable[[tuple[int, ...]], tuple[Point | None, Point]]
"""From the size of a picture the focal lengths, None where they are not known, and the principal
point.
"""


def measured_by_depth(
    sets: Sequence[Frameset],
    valid: Callable[[NDArray[Any]], Mask],
    camera: Camera,
    window: tuple[int, float],
    progress: Progress,
) -> Verdict | None:
    """Axes by comparison with normals from depth; None where no frame allows one.

    Args:
        valid: where a depth map is to be trusted.
        window: the radius and the bend of `surface_slopes`.
    """
    found = []
    for native in _frames(sets, ("normals", "depth"), FRAMES, progress):
        depth = native["depth"].astype(np.float64)
        if native["normals"].shape[:2] != depth.shape or min(depth.shape) <= 2 * window[0]:
            continue
        focal, centre = camera(depth.shape)
        slopes, kept = surface_slopes(depth, valid(native["depth"]), centre, *window)
        vectors = file_vectors(native["normals"])
        angles = depth_angles(vectors, slopes, kept & (vectors != 0).any(axis=0), focal)
        if angles is not None:
            found.append(angles)
    return by_depth(found) if found else None


def free_camera(size: tuple[int, ...]) -> tuple[None, Point]:
    """A camera of which nothing is known but that it points to the middle."""
    return None, middle(size)


def measured_by_sight(sets: Sequence[Frameset], context: str, progress: Progress) -> Verdict | None:
    """Axes without depth: surfaces that are seen face the camera, and floors face up; None where no
    frame allows one.

    Args:
        context: the part that holds the Context labels, which say what is a floor and what may be
        trusted.
    """
    seen: list[NDArray[Any]] = []
    floors: list[NDArray[Any]] = []
    trusted = normals_valid()
    for native in _frames(sets, (context, "normals"), _FLOORS_TRIED, progress):
        labels = native[context]
        if native["normals"].shape[:2] != labels.shape:
            continue
        floor = labels == FLOOR
        shows_floor = floor.mean() >= _LEAST_FLOOR
        if not shows_floor and len(seen) >= FRAMES:
            continue
        vectors = file_vectors(native["normals"])
        there = (vectors != 0).any(axis=0)
        shares = away(vectors, there & trusted[labels])
        if shares is not None:
            seen.append(shares)
        if shows_floor and (floor & there).any():
            floors.append(upwards(vectors, floor & there))
        if len(floors) >= FRAMES:
            break
    return by_sight(seen, floors) if seen else None


def measured_map(path: Path) -> Verdict:
    """What a single normal map allows, an RGB picture or an array of vectors.

    Raises:
        DataError: it cannot be read, or has too few vectors.
    """
    normals = read_npy(path) if path.suffix == ".npy" else read_picture(path, RGB)
    if normals.ndim != 3 or normals.shape[2] != 3:
        raise DataError(
            f"{path}: an array of shape {normals.shape}, expected a normal map (H, W, 3)"
        )
    vectors = file_vectors(normals)
    shares = away(vectors, (vectors != 0).any(axis=0))
    if shares is None:
        raise DataError(f"{path}: too few vectors to say anything about their axes")
    return by_sight([shares])


def check_axes(verdict: Verdict | None, taken: str, stored: bool, path: Path) -> Iterator[Finding]:
    """What was measured, in words.

    Args:
        taken: the axes that loaders go by until others are stored.
        stored: whether those that were measured are stored now.
        path: an example file.
    """
    if verdict is None:
        message = f"normal axes: no frame with enough normals to measure them; loaders take them as {taken}"
        yield Finding("warning", "conventions", message, path)
    elif verdict.axes is None:
        message = (
            f"normal axes cannot be decided ({verdict.words}); possible: {verdict.channels}. Loaders take them as "
            f"{taken}"
        )
        yield Finding("warning", "conventions", message, path)
    else:
        message = f"normal axes: {in_words(verdict.axes)}, measured: {verdict.words}"
        good = stored or verdict.axes == taken
        if not good:
            message += f". Loaders take them as {taken} until this is stored: run `ttt-bench data check` without --dry-run"
        yield Finding("ok" if good else "warning", "conventions", message, path)


def check_map(path: Path) -> list[Finding]:
    """The findings on a single normal map.

    Its axes are right where they are those that loaders assume, of Taskonomy or of the others.
    """
    try:
        verdict = measured_map(path)
    except DataError as error:
        return [Finding("error", "files", str(error), path)]
    if verdict.axes is None:
        return list(check_axes(verdict, f"{HARNESS_AXES} or {NYUD_AXES}", False, path))
    usual = verdict.axes in (HARNESS_AXES, NYUD_AXES)
    message = f"normal axes: {in_words(verdict.axes)}, measured without depth: {verdict.words}"
    if not usual:
        message += (
            f". Loaders assume {HARNESS_AXES} (Taskonomy) or {NYUD_AXES} (NYUD-v2, PASCAL-Context) unless `ttt-bench "
            "data check` of the whole data set has stored what it measured"
        )
    return [Finding("ok" if usual else "warning", "conventions", message, path)]


def _frames(
    sets: Sequence[Frameset], parts: tuple[str, str], most: int, progress: Progress
) -> Iterator[Native]:
    """Those of a spread sample that can be read."""
    sample = sampled(sets, most)
    with progress.bar("measuring normal axes", len(sample)) as bar:
        for part, index in sample:
            native = None
            with suppress(DataError):  # named where files are decoded
                native = part.read(index, parts)
            if native is not None:
                yield native
            bar.advance()
