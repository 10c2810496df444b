"""Compare images with their label maps, depth, normals and edges, and report what disagrees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ttt_bench.datatools.check.agreement.contours import (
    Contours,
    image_contours,
    is_empty,
    reduction,
)
from ttt_bench.datatools.check.agreement.judgement import FEWEST, Judgement, fit_frames, judge
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, has_part, sample_frames
from ttt_bench.errors import DataError
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import listed

FRAMES = 48
"""Number of frames that are compared."""

Maker = Callable[[NDArray[Any]], Contours | None]
"""Make the contour map of a part's array."""

_DRAWN = 2  # pixels of a contour map by which labels and edges drawn on the image may be off
_MEASURED = 3  # the same for depth and normals, which another sensor has measured
_TOLERANCE = {"depth": _MEASURED, "normals": _MEASURED}
_WORDS = {
    "semseg": "label maps",
    "depth": "depth maps",
    "context": "Context labels",
    "edge": "edges",
}


_MORE_FRAMES = {"edge": 6}
"""Frames that are needed for a part whose contours fit less often than those of others."""
_NO_FAULT = ("agree", "undecided", "alike")


class Place(NamedTuple):
    """The name of a frame, and the file of its image if it is known."""

    name: str
    path: Path | None = None


class Frame(NamedTuple):
    """The contour maps of a frame by part.

    Attributes:
        scale: pixels of the image per pixel of a contour map.
        empty: whether the image has a single colour.
    """

    place: Place
    maps: Mapping[str, Contours | None]
    scale: int
    empty: bool


def check_agreement(
    sets: Sequence[Frameset], makers: Mapping[str, Maker], progress: Progress
) -> Iterator[Finding]:
    """Yield how well images agree with each part, and which images are empty.

    Args:
        makers: for each part that may be compared, the function that makes its contour map.
    """
    image = sets[0].parts[0]
    present = [part for part in makers if has_part(sets, part)]
    wanted = {image: image_contours, **{part: makers[part] for part in present}}
    sample, title = sample_frames(sets, FRAMES), "comparing images with labels"
    made = list(map_in_threads(partial(_contour_maps, wanted), sample, title, progress))
    yield from compared([frame for frame in made if frame is not None], image)


def compared(frames: Sequence[Frame], image: str) -> Iterator[Finding]:
    """Yield how well the images of frames agree with each part, and which images are empty.

    Args:
        image: the name of the image among the contour maps.
    """
    if not frames:
        return
    yield from _check_empty([frame for frame in frames if frame.empty], len(frames))
    parts = [part for part in frames[0].maps if part != image]
    shown = {part: _with_contours(frames, image, part) for part in parts}
    found = {part: _judged(shown[part], image, part) for part in parts}
    faults = [each for each in found.values() if each.kind not in _NO_FAULT]
    scale, path = frames[0].scale, frames[0].place.path
    if len(faults) > 1 and len({fault.kind for fault in faults}) == 1 and _all_judged(found):
        *others, last = (_WORDS.get(part, part) for part in found)
        words = f"{', '.join(others)} and {last}"
        message = f"images {_fault(faults[0], scale, words)}; replace the images"
        yield Finding.warning("agreement", message, path, faults[0].frames)
        return
    for part, judgement in found.items():
        misfits = [shown[part][at].place.name for at in judgement.misfits]
        yield _part_finding(part, judgement, scale, misfits, path)


def _all_judged(found: Mapping[str, Judgement]) -> bool:
    """Return whether no part agrees with the images."""
    return all(judgement.kind != "agree" for judgement in found.values())


def _contour_maps(makers: Mapping[str, Maker], place: tuple[Frameset, int]) -> Frame | None:
    """Return the contour maps of a frame; None if it cannot be read."""
    frames, index = place
    try:
        native = frames.read(index, tuple(makers))
    except DataError:
        return None  # reported where files are decoded
    image = frames.parts[0]
    place_of_image = Place(frames.frames.name(index), frames.frames.path(index, image))
    maps = {part: make(native[part]) for part, make in makers.items()}
    return Frame(place_of_image, maps, reduction(native[image].shape), is_empty(native[image]))


def _check_empty(empty: Sequence[Frame], count: int) -> Iterator[Finding]:
    if empty:
        message = (
            f"image: {len(empty)} of {count} images show nothing (black or of a single colour), "
            f"such as {empty[0].place.name}; replace them"
        )
        yield Finding.warning("agreement", message, empty[0].place.path, len(empty))


def _with_contours(frames: Sequence[Frame], image: str, part: str) -> list[Frame]:
    """Return the frames that show contours in both parts."""
    return [
        frame for frame in frames if frame.maps[image] is not None and frame.maps[part] is not None
    ]


def _judged(frames: Sequence[Frame], image: str, part: str) -> Judgement:
    """Return the judgement over frames with contours in both parts."""
    if len(frames) < _fewest(part):
        return Judgement(kind="undecided", frames=len(frames), fitting=0)
    fits = fit_frames(_maps_of(frames, image), _maps_of(frames, part))
    return judge(fits, _TOLERANCE.get(part, _DRAWN))


def _fewest(part: str) -> int:
    return _MORE_FRAMES.get(part, FEWEST)


def _maps_of(frames: Sequence[Frame], part: str) -> list[Contours]:
    """Return the contour maps of a part, which no frame lacks."""
    maps = (frame.maps[part] for frame in frames)
    return [contours for contours in maps if contours is not None]


def _part_finding(
    part: str, judgement: Judgement, scale: int, misfits: Sequence[str], path: Path | None
) -> Finding:
    words, count = _WORDS.get(part, part), judgement.frames
    if judgement.kind == "undecided":
        message = (
            f"{words} and images: {count} frames with contours are too few to compare them; "
            f"{_fewest(part)} are needed"
        )
        return Finding.ok("agreement", message, path, count)
    if judgement.kind == "alike":
        message = (
            f"{words} and images: all {count} frames have almost the same contours, so that files "
            "that were mixed up would not show"
        )
        return Finding.ok("agreement", message, path, count)
    if judgement.kind == "agree":
        message = (
            f"{words} and images agree: {judgement.fitting} of {count} frames fit best where they "
            "are"
        )
        if misfits:
            message += f"; not so {listed(misfits)}"
        return Finding.ok("agreement", message, path, count)
    message = f"{words} {_fault(judgement, -scale, 'images')}; replace one of them"
    return Finding.warning("agreement", message, path, count, about=part)


def _fault(judgement: Judgement, scale: int, others: str) -> str:
    """Return the second part of a sentence on what does not agree.

    Args:
        scale: pixels of a picture per pixel of a contour map, negative if the part is displaced.
    """
    count = f"{judgement.fitting} of {judgement.frames} frames fit best where they are"
    if judgement.kind == "mirrored":
        return f"fit their {others} when mirrored ({count})"
    if judgement.kind == "moved":
        down, right = (scale * step for step in judgement.moved)
        return f"are displaced against their {others} by about {down} rows, {right} columns"
    return f"do not belong to their {others}, as if files were mixed up ({count})"
