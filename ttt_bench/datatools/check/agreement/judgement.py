"""Judge whether the contours of images and of another part show the same scene.

For each frame, the correlation of both contour maps is computed for all displacements up to
`REACH`. If both show the same scene, the largest correlation is at no displacement. All functions
are pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttt_bench.datatools.check.agreement.contours import Contours

REACH = 16
"""Pixels of a contour map up to which displacements are tried."""

FEWEST = 3
"""Frames that are needed to judge."""

_NEAR = 1  # pixels up to which two displacements are the same
_MOST_UNRELATED = 0.35  # share of frames that fit at no displacement although nothing fits
_ALIKE = 0.3  # mean correlation of different frames' parts above which they cannot be told apart
_LEAST_MOVED = 0.5  # share of frames that fit at one other displacement, or mirrored
_EVIDENCE = 2.0  # standard errors by which frames must fit their own part better than others'
_GAIN = 0.6  # standard deviations by which they must; rooms have 1.7 or more


class Displacement(NamedTuple):
    """Rows and columns of a contour map."""

    down: int
    right: int


@dataclass(frozen=True, kw_only=True)
class FrameFit:
    """How the contours of one image fit those of another part.

    Attributes:
        peak: the displacement of the part with the largest correlation.
        mirrored: as `peak`, for the mirrored part.
        own: the correlation at no displacement.
        mirrored_own: as `own`, for the mirrored part.
        others: the mean correlation at no displacement with the parts of other frames.
        likeness: the mean correlation of the part with those of other frames.
    """

    peak: Displacement
    mirrored: Displacement
    own: float
    mirrored_own: float
    others: float
    likeness: float


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The result for one part over all frames.

    Attributes:
        kind: "agree", "unrelated", "mirrored", "moved", "undecided" (too few frames), or "alike"
            (all frames have almost the same contours).
        frames: the number of frames with contours in both.
        fitting: the number of frames with their peak at no displacement.
        moved: the common displacement, if the part is moved.
        misfits: the positions of the frames whose peak is elsewhere.
    """

    kind: str
    frames: int
    fitting: int
    moved: tuple[int, int] = (0, 0)
    misfits: tuple[int, ...] = ()


def fit_frames(images: Sequence[Contours], parts: Sequence[Contours]) -> list[FrameFit]:
    """Return the fit of each image with its own part; at least two frames are needed."""
    count = len(images)
    fits = []
    for index, (image, part) in enumerate(zip(images, parts, strict=True)):
        others = [parts[(index + step) % count] for step in (1, 2, 3) if step < count]
        here, turned = _correlations(image, part), _correlations(image, part[:, ::-1])
        fit = FrameFit(
            peak=_peak(here),
            mirrored=_peak(turned),
            own=float(here[REACH, REACH]),
            mirrored_own=float(turned[REACH, REACH]),
            others=float(np.mean([_overlap(image, other) for other in others])),
            likeness=float(np.mean([_overlap(part, other) for other in others])),
        )
        fits.append(fit)
    return fits


def judge(fits: Sequence[FrameFit], tolerance: int) -> Judgement:
    """Return the judgement of the frames' fits.

    Args:
        tolerance: displacement in pixels that published files may have.
    """
    count = len(fits)
    off = [_length(fit.peak) > max(tolerance, _NEAR) for fit in fits]
    fitting = count - sum(off)
    if count < FEWEST:
        return Judgement(kind="undecided", frames=count, fitting=fitting)
    if np.mean([fit.likeness for fit in fits]) > _ALIKE:
        return Judgement(kind="alike", frames=count, fitting=fitting)
    turned = sum(_length(fit.mirrored) <= max(tolerance, _NEAR) for fit in fits)
    better = sum(fit.mirrored_own > fit.own for fit in fits)
    few = fitting < _LEAST_MOVED * count
    if few and turned >= _LEAST_MOVED * count and better >= 0.75 * count:
        return Judgement(kind="mirrored", frames=count, fitting=fitting)
    place, at_place = _common(fits)
    if _length(place) > tolerance and at_place >= _LEAST_MOVED * count:
        return Judgement(kind="moved", frames=count, fitting=fitting, moved=place)
    most = max(_EVIDENCE, _GAIN * np.sqrt(count))
    unrelated = fitting < _MOST_UNRELATED * count and evidence(fits) < most
    kind = "unrelated" if unrelated else "agree"
    misfits = tuple(int(at) for at in np.flatnonzero(off))
    return Judgement(kind=kind, frames=count, fitting=fitting, misfits=misfits)


def evidence(fits: Sequence[FrameFit]) -> float:
    """Return by how many standard errors images fit their own part better than other frames'."""
    gains = np.array([fit.own - fit.others for fit in fits])
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return float(gains.mean() / error) if error > 0 else float(np.sign(gains.mean()) * np.inf)


def _common(fits: Sequence[FrameFit]) -> tuple[Displacement, int]:
    """Return the displacement near which most peaks are, and their number."""
    counts = {fit.peak: _number_near(fit.peak, fits) for fit in fits}
    place = max(counts, key=lambda peak: counts[peak])
    return place, counts[place]


def _number_near(place: Displacement, fits: Sequence[FrameFit]) -> int:
    return sum(_length(_between(place, fit.peak)) <= _NEAR for fit in fits)


def _between(one: Displacement, other: Displacement) -> Displacement:
    return Displacement(one.down - other.down, one.right - other.right)


def _length(place: Displacement) -> int:
    return max(abs(place.down), abs(place.right))


def _peak(correlations: NDArray[Any]) -> Displacement:
    row, column = np.unravel_index(int(correlations.argmax()), correlations.shape)
    return Displacement(int(row) - REACH, int(column) - REACH)


def _correlations(image: Contours, part: Contours) -> NDArray[Any]:
    """Return (2 REACH + 1, 2 REACH + 1) correlations.

    At row REACH + y and column REACH + x, the part is moved y rows down and x columns to the right
    before it is compared.
    """
    shape = tuple(max(a, b) + 2 * REACH for a, b in zip(image.shape, part.shape, strict=True))
    spectrum = np.fft.rfft2(image, shape) * np.conj(np.fft.rfft2(part, shape))
    steps = np.arange(-REACH, REACH + 1)
    return np.asarray(np.fft.irfft2(spectrum, shape)[np.ix_(steps, steps)])


def _overlap(image: Contours, other: Contours) -> float:
    """Return the correlation of two maps that may differ in size, over their common part."""
    height, width = (min(a, b) for a, b in zip(image.shape, other.shape, strict=True))
    a, b = image[:height, :width].ravel(), other[:height, :width].ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / lengths if lengths else 0.0
