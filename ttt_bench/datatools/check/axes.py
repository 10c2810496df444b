"""The axes of normal maps, measured: each of the 48 possible ones is compared with what the
pictures allow.

With depth, normals that are computed from it must agree. Without, what a camera sees must face it:
the side of a box that is seen in the left of a picture cannot point to the left. Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.geometry import Point, facing_normals, focal_length, middle
from ttt_bench.data.images.normals import EVERY_AXES, Floats, Mask, to_harness

FIELDS_OF_VIEW = np.arange(30.0, 131.0, 2.5)
"""Degrees from left to right that are tried where the camera is not known; Taskonomy's views
range from 46 to 114.
"""

_COMPARED = 1_000  # vectors of a picture, with many fields of view
_LOOKED_AT = 4_000  # with one
_FEWEST = 200  # a picture with fewer vectors says nothing
_MOST_ANGLE = 20.0  # degrees; exact depth gives 2 to 3, a depth sensor's more
_CLEAR_GAP = 15.0  # degrees; one wrong sign costs 35 to 55
_USUAL_VIEW = 60.0  # degrees
_GRAZING = 0.05  # cosine up to which a surface that is seen may seem to point away
_MOST_AWAY = 0.05  # share of vectors
_UP = 0.7  # least cosine between a floor's normal and up

# of each possible axes: the three directions that the channels 0, 1 and 2 have, as a (48, 3, 3)
# change of axes
_CHANGES = np.stack([to_harness(np.eye(3, dtype=np.float32), axes) for axes in EVERY_AXES])
_PRODUCTS = _CHANGES.reshape(len(EVERY_AXES), 9).T.copy()


@dataclass(frozen=True)
class Verdict:
    """What a measurement allows.

    Attributes:
        possible: the axes that it does not exclude, the likeliest first.
        words: the measurement.
    """

    possible: tuple[str, ...]
    words: str

    @property
    def axes(self) -> str | None:
        """The axes, if there is just one possibility."""
        return self.possible[0] if len(self.possible) == 1 else None

    @property
    def channels(self) -> str:
        """What is known of each channel, such as "forward / down or up / right"."""
        words = zip(*(axes.split(" / ") for axes in self.possible), strict=True)
        several = [list(dict.fromkeys(word)) for word in words]
        return " / ".join("undecided" if len(each) > 2 else " or ".join(each) for each in several)


def in_words(axes: str) -> str:
    """Axes with what the channels hold, such as "forward / down / right (z, y, x: the channels
    are reversed)".
    """
    change = to_harness(np.eye(3, dtype=np.float32), axes).T  # row: channel, column: axis
    names = [("-" if row.sum() < 0 else "") + "xyz"[int(np.abs(row).argmax())] for row in change]
    reversed_ = [name[-1] for name in names] == ["z", "y", "x"]
    return f"{axes} ({', '.join(names)}{': the channels are reversed' if reversed_ else ''})"


def depth_angles(
    vectors: Floats, slopes: NDArray[np.float64], there: Mask, focal: Point | None
) -> Any:
    """(48,) mean angles in degrees between a picture's vectors, read in each possible axes, and
    normals from depth.

    Args:
        vectors: (3, H, W) in the file's axes.
        slopes: (3, H, W) of `surface_slopes`.
        there: (H, W) where both are to be trusted.
        focal: focal lengths in pixels; None tries many, and each axes is given the one that suits
        it best.

    Returns:
        None where the picture has too few vectors.
    """
    at = _sample(there, _COMPARED)
    if at is None:
        return None
    stored, planes = _units(vectors, at), slopes.reshape(3, -1)[:, at]
    lengths = [focal_length(vectors.shape[2], degrees) for degrees in FIELDS_OF_VIEW]
    tried = [focal] if focal else [(length, length) for length in lengths]
    means = [_angles(stored, facing_normals(planes, each)).mean(axis=0) for each in tried]
    return np.min(means, axis=0)


def away(vectors: Floats, there: Mask) -> Any:
    """(48,) shares of a picture's vectors that, read in each possible axes, point away from the
    camera.

    Args:
        vectors: (3, H, W) in the file's axes.
        there: (H, W) where there is a normal.

    Returns:
        None where the picture has too few vectors.
    """
    at = _sample(there, _LOOKED_AT)
    if at is None:
        return None
    height, width = there.shape
    rows, columns = np.unravel_index(at, there.shape)
    x, y = middle((height, width))
    focal = focal_length(width, _USUAL_VIEW)
    rays = np.stack([(columns - x) / focal, (rows - y) / focal, np.ones(len(at))]).astype(
        np.float32
    )
    rays /= np.linalg.norm(rays, axis=0)
    return (_cosines(_units(vectors, at), rays) > _GRAZING).mean(axis=0)


def upwards(vectors: Floats, floor: Mask) -> Any:
    """(48,) mean cosines between up and the vectors (3, H, W) on a floor (H, W), read in each
    possible axes.
    """
    up = np.array([[0.0], [-1.0], [0.0]], dtype=np.float32)
    stored = _units(vectors, np.flatnonzero(floor))
    return _cosines(stored, np.repeat(up, stored.shape[1], axis=1)).mean(axis=0)


def by_depth(pictures: Sequence[NDArray[Any]]) -> Verdict:
    """What the `depth_angles` of several pictures allow; at least one picture."""
    angles = np.mean(pictures, axis=0)
    best, second = np.argsort(angles)[:2]
    clear = angles[best] <= _MOST_ANGLE and angles[second] >= angles[best] + _CLEAR_GAP
    words = (
        f"{angles[best]:.1f} degrees from the normals that depth gives, frames: {len(pictures)}; next "
        f"{EVERY_AXES[second]} with {angles[second]:.1f}"
    )
    possible = angles <= angles[best] + _CLEAR_GAP
    order = [EVERY_AXES[number] for number in np.argsort(angles) if possible[number]]
    return Verdict(
        (EVERY_AXES[best],) if clear else tuple(order) if len(order) > 1 else EVERY_AXES, words
    )


def by_sight(pictures: Sequence[NDArray[Any]], floors: Sequence[NDArray[Any]] = ()) -> Verdict:
    """What the `away` of several pictures allow, and the `upwards` of those that show a floor;
    at least one picture.
    """
    shares = np.mean(pictures, axis=0)
    allowed = np.ones(len(shares), dtype=np.bool_)
    if floors:
        allowed = np.mean(floors, axis=0) >= _UP
        shares = np.where(allowed, shares, 1.0)
    best = float(shares.min())
    allowed &= shares <= min(2.0 * best + 0.005, _MOST_AWAY)
    order = [EVERY_AXES[number] for number in np.argsort(shares) if allowed[number]]
    excluded = shares[~allowed]
    words = f"{best:.1%} of the vectors point away from the camera (pictures: {len(pictures)})"
    if len(order) == 1 and excluded.size:
        words += f", with any other axes {excluded.min():.1%} or more"
    if floors:
        words += f"; floors face up (pictures: {len(floors)})"
    return Verdict(tuple(order) or EVERY_AXES, words)


def _sample(there: Mask, most: int) -> NDArray[np.intp] | None:
    """Places of at most so many vectors, evenly spread."""
    at = np.flatnonzero(there)
    return None if len(at) < _FEWEST else at[:: -(-len(at) // most)]


def _units(vectors: Floats, at: NDArray[np.intp]) -> Floats:
    chosen = vectors.reshape(3, -1)[:, at]
    length = np.linalg.norm(chosen, axis=0)
    return np.asarray(chosen / np.where(length > 0, length, 1.0), dtype=np.float32)


def _cosines(stored: Floats, directions: Floats) -> Floats:
    """(N, 48): of vectors (3, N), read in each possible axes, with directions (3, N)."""
    products: Floats = (directions[:, None] * stored[None]).reshape(9, -1)
    return np.asarray(products.T @ _PRODUCTS, dtype=np.float32)


def _angles(stored: Floats, normals: Floats) -> Floats:
    angles: Floats = np.degrees(np.arccos(np.clip(_cosines(stored, normals), -1.0, 1.0)))
    return angles
