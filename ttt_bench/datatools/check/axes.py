"""Measure the axes of normal maps: compare each of the 48 possible axes with the pictures.

With depth, the normals must agree with normals computed from depth. Without depth, every visible
surface must face the camera: the side of a box in the left of a picture cannot point to the left.
All functions are pure.
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
"""Horizontal fields of view in degrees that are tried if the camera is unknown. Taskonomy's views
range from 46 to 114.
"""

_COMPARED = 1_000  # vectors of a picture that are compared under many fields of view
_LOOKED_AT = 4_000  # vectors of a picture that are compared under one field of view
_FEWEST = 200  # vectors; a picture with fewer is not measured
_MOST_ANGLE = 10.0  # degrees; published frames give 1.6 to 3.8
_EXACT_ANGLE = 5.0  # degrees; so small an angle confirms depth in spite of other doubts
_CLEAR_GAP = 15.0  # degrees; one wrong sign costs 35 to 55
_USUAL_VIEW = 60.0  # degrees
_GRAZING = 0.05  # cosine up to which a visible surface may seem to point away
_MOST_AWAY = 0.05  # share of vectors
_UP = 0.7  # least cosine between the normal of a floor and up
_OUTLIER = 20.0  # degrees; a frame above it does not have the axes of the others
_OUTLIER_AWAY = 0.2  # share of vectors that point away; a frame above it is an outlier

# (48, 3, 3): for each possible axes, the directions of the channels 0, 1 and 2
_CHANGES = np.stack([to_harness(np.eye(3, dtype=np.float32), axes) for axes in EVERY_AXES])
# (48, 3, 3) -> (9, 48)
_PRODUCTS = _CHANGES.reshape(len(EVERY_AXES), 9).T.copy()


@dataclass(frozen=True)
class AxesVerdict:
    """The axes that a measurement allows.

    Attributes:
        possible: the axes that are not excluded, the likeliest first.
        words: a description of the measurement.
        angle: the mean angle in degrees to the normals from depth; None without depth.
    """

    possible: tuple[str, ...]
    words: str
    angle: float | None = None

    @property
    def axes(self) -> str | None:
        """The axes, or None if more than one is possible."""
        return self.possible[0] if len(self.possible) == 1 else None

    @property
    def exact(self) -> bool:
        """Whether normals agree with depth so well that no other doubt of depth matters."""
        return self.angle is not None and self.angle <= _EXACT_ANGLE

    @property
    def channels(self) -> str:
        """The possible directions per channel, such as "forward / down or up / right"."""
        directions = [axes.split(" / ") for axes in self.possible]
        channels = [list(dict.fromkeys(words)) for words in zip(*directions, strict=True)]
        return " / ".join("undecided" if len(each) > 2 else " or ".join(each) for each in channels)


def describe_axes(axes: str) -> str:
    """Return axes with the content of the channels, such as "right / down / forward (x, y, z)"."""
    change = to_harness(np.eye(3, dtype=np.float32), axes).T  # (channel, axis)
    names = [("-" if row.sum() < 0 else "") + "xyz"[int(np.abs(row).argmax())] for row in change]
    order = [name[-1] for name in names]
    remark = ": the channels are reversed" if order == ["z", "y", "x"] else ""
    return f"{axes} ({', '.join(names)}{remark})"


def depth_angles(
    vectors: Floats, slopes: NDArray[np.float64], valid: Mask, focal: Point | None
) -> Any:
    """Return the mean angles between the vectors in each possible axes and normals from depth.

    Args:
        vectors: (3, H, W) in the axes of the file.
        slopes: (3, H, W), from `surface_slopes`.
        valid: (H, W), the pixels where both can be trusted.
        focal: focal lengths in pixels; None tries many and takes the best one for each axes.

    Returns:
        (48,) angles in degrees, or None if the picture has too few vectors.
    """
    at = _sample(valid, _COMPARED)
    if at is None:
        return None
    stored = _units(vectors, at)
    planes = slopes.reshape(3, -1)[:, at]  # (3, H, W) -> (3, N)
    lengths = [focal_length(vectors.shape[2], degrees) for degrees in FIELDS_OF_VIEW]
    tried = [focal] if focal else [(length, length) for length in lengths]
    # (N, 48) -> (48,) for each focal length
    means = [_angles(stored, facing_normals(planes, each)).mean(axis=0) for each in tried]
    return np.min(means, axis=0)


def shares_away(vectors: Floats, valid: Mask) -> Any:
    """Return the shares of vectors that point away from the camera in each possible axes.

    Args:
        vectors: (3, H, W) in the axes of the file.
        valid: (H, W), the pixels with a normal.

    Returns:
        (48,) shares, or None if the picture has too few vectors.
    """
    at = _sample(valid, _LOOKED_AT)
    if at is None:
        return None
    height, width = valid.shape
    rows, columns = np.unravel_index(at, valid.shape)
    x, y = middle((height, width))
    focal = focal_length(width, _USUAL_VIEW)
    rays = np.stack([(columns - x) / focal, (rows - y) / focal, np.ones(len(at))])  # (3, N)
    rays = rays.astype(np.float32)
    rays /= np.linalg.norm(rays, axis=0)
    # (N, 48) -> (48,)
    return (_cosines(_units(vectors, at), rays) > _GRAZING).mean(axis=0)


def floor_cosines(vectors: Floats, floor: Mask) -> Any:
    """Return the mean cosines between up and the vectors on a floor in each possible axes.

    Args:
        vectors: (3, H, W) in the axes of the file.
        floor: (H, W), the pixels of the floor.

    Returns:
        (48,) cosines.
    """
    up = np.array([[0.0], [-1.0], [0.0]], dtype=np.float32)
    stored = _units(vectors, np.flatnonzero(floor))  # (3, N)
    # (N, 48) -> (48,)
    return _cosines(stored, np.repeat(up, stored.shape[1], axis=1)).mean(axis=0)


def judge_with_depth(pictures: Sequence[NDArray[Any]]) -> AxesVerdict:
    """Return the axes that the `depth_angles` of one or more pictures allow.

    Outliers are left out, if most pictures are none.
    """
    used = _without_outliers(pictures, _OUTLIER)
    angles = np.mean(used, axis=0)  # (pictures, 48) -> (48,)
    best, second = np.argsort(angles)[:2]
    words = (
        f"{angles[best]:.1f} degrees from the normals computed from depth, "
        f"frames: {len(used)}; next {EVERY_AXES[second]} with {angles[second]:.1f}"
    )
    clear = angles[second] >= angles[best] + _CLEAR_GAP
    if angles[best] <= _MOST_ANGLE and clear:
        return AxesVerdict((EVERY_AXES[best],), words, float(angles[best]))
    if clear:
        words += f"; below {_MOST_ANGLE:.0f} degrees are needed: depth and normals disagree"
    possible = angles <= angles[best] + _CLEAR_GAP
    order = [EVERY_AXES[number] for number in np.argsort(angles) if possible[number]]
    return AxesVerdict(tuple(order) if len(order) > 1 else EVERY_AXES, words)


def judge_without_depth(
    pictures: Sequence[NDArray[Any]], floors: Sequence[NDArray[Any]] = ()
) -> AxesVerdict:
    """Return the axes that one or more pictures allow.

    Args:
        pictures: the `shares_away` of each picture.
        floors: the `floor_cosines` of the pictures that show a floor.
    """
    used = _without_outliers(pictures, _OUTLIER_AWAY)
    shares = np.mean(used, axis=0)  # (pictures, 48) -> (48,)
    allowed = np.ones(len(shares), dtype=np.bool_)
    if floors:
        cosines = np.mean(floors, axis=0)
        allowed = cosines >= _UP
        if not allowed.any():
            words = (
                f"no axes let the labelled floors face up (pictures: {len(floors)}, best mean "
                f"cosine {cosines.max():.2f}): labels and normals do not belong to each other"
            )
            return AxesVerdict(EVERY_AXES, words)
    return _by_visibility(np.where(allowed, shares, 1.0), allowed, len(used), len(floors))


def _by_visibility(
    shares: NDArray[Any], allowed: NDArray[np.bool_], pictures: int, floors: int
) -> AxesVerdict:
    """Return the allowed axes with which almost no vector points away from the camera."""
    best = float(shares.min())
    allowed = allowed & (shares <= min(2.0 * best + 0.005, _MOST_AWAY))
    order = [EVERY_AXES[number] for number in np.argsort(shares) if allowed[number]]
    excluded = shares[~allowed]
    words = f"{best:.1%} of the vectors point away from the camera (pictures: {pictures})"
    if len(order) == 1 and excluded.size:
        words += f", with any other axes {excluded.min():.1%} or more"
    if floors:
        words += f"; floors face up (pictures: {floors})"
    return AxesVerdict(tuple(order) or EVERY_AXES, words)


def _without_outliers(pictures: Sequence[NDArray[Any]], most: float) -> Sequence[NDArray[Any]]:
    """Return the pictures whose value for the best axes is at most `most`, if most pictures are."""
    best = int(np.mean(pictures, axis=0).argmin())
    used = [picture for picture in pictures if picture[best] <= most]
    return used if 2 * len(used) > len(pictures) else pictures


def outliers(pictures: Sequence[NDArray[Any]], axes: str, *, with_depth: bool) -> list[int]:
    """Return the positions of the pictures that do not have these axes.

    Args:
        pictures: the `depth_angles` of each picture, or its `shares_away`.
        with_depth: whether the pictures are `depth_angles`.
    """
    most = _OUTLIER if with_depth else _OUTLIER_AWAY
    values = np.array([picture[EVERY_AXES.index(axes)] for picture in pictures])
    return [int(at) for at in np.flatnonzero(values > most)]


def _sample(valid: Mask, most: int) -> NDArray[np.intp] | None:
    """Return the flat indices of at most `most` valid pixels, evenly spread; None if too few."""
    at = np.flatnonzero(valid)
    return None if len(at) < _FEWEST else at[:: -(-len(at) // most)]


def _units(vectors: Floats, at: NDArray[np.intp]) -> Floats:
    """Return the vectors (3, H, W) at N flat indices, scaled to unit length, as (3, N)."""
    chosen = vectors.reshape(3, -1)[:, at]  # (3, H, W) -> (3, N)
    length = np.linalg.norm(chosen, axis=0)
    return np.asarray(chosen / np.where(length > 0, length, 1.0), dtype=np.float32)


def _cosines(stored: Floats, directions: Floats) -> Floats:
    """Return the cosines (N, 48) of vectors (3, N), in each possible axes, with directions."""
    # (3, 1, N) * (1, 3, N) -> (9, N)
    products: Floats = (directions[:, None] * stored[None]).reshape(9, -1)
    return np.asarray(products.T @ _PRODUCTS, dtype=np.float32)


def _angles(stored: Floats, normals: Floats) -> Floats:
    """Return the angles (N, 48) in degrees, like `_cosines`."""
    angles: Floats = np.degrees(np.arccos(np.clip(_cosines(stored, normals), -1.0, 1.0)))
    return angles
