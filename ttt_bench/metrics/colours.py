"""Colours of pictures: pure functions from arrays to (H, W, 3) uint8, in NumPy.

A pixel without a target (255) is `NO_TARGET`, a light grey, in every task.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt_bench.tasks import IGNORE

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
"""RGB, 0 to 255."""

NO_TARGET: Colour = (221, 221, 221)

CLASS_COLOURS: tuple[Colour, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
    (204, 121, 167),
    (0, 0, 0),
)
"""RGB of each class index: Okabe and Ito's palette, which is safe for every colour blindness.

Further classes repeat the palette.
"""

# viridis at 17 even steps; linear interpolation stays within 5 of 255 of the whole table
_VIRIDIS = (
    (68, 1, 84), (72, 24, 106), (71, 45, 123), (66, 64, 134), (59, 82, 139), (51, 99, 141),
    (44, 114, 142), (38, 130, 142), (33, 145, 140), (31, 160, 136), (40, 174, 128), (63, 188, 115),
    (94, 201, 98), (132, 212, 75), (173, 220, 48), (216, 226, 25), (253, 231, 37),
)  # fmt: skip

# ColorBrewer's OrRd and RdBu, at even steps
_ERRORS = ((255, 255, 255), (253, 212, 158), (252, 141, 89), (215, 48, 31), (127, 0, 0))
_DIFFERENCES = (
    (5, 48, 97), (67, 147, 195), (209, 229, 240), (255, 255, 255),
    (253, 219, 199), (214, 96, 77), (103, 0, 31),
)  # fmt: skip


def class_colour(index: int) -> Colour:
    """Return the RGB of a class index; `NO_TARGET` for 255."""
    return NO_TARGET if index == IGNORE else CLASS_COLOURS[index % len(CLASS_COLOURS)]


def viridis(values: ArrayLike, low: float, high: float) -> Picture:
    """Return values (H, W) from dark (`low`) to bright (`high`) in viridis, (H, W, 3).

    Values outside the range take the colour of its end.
    """
    return _ramp(values, low, high, _VIRIDIS)


def errors(values: ArrayLike, high: float) -> Picture:
    """Return errors (H, W) from white (0) to dark red (`high` or more), (H, W, 3)."""
    return _ramp(values, 0.0, high, _ERRORS)


def differences(values: ArrayLike, high: float) -> Picture:
    """Return differences (H, W) from blue (-`high`) over white (0) to red (`high`), (H, W, 3)."""
    if high <= 0:  # all differences are 0
        high = 1.0
    return _ramp(values, -high, high, _DIFFERENCES)


def _ramp(values: ArrayLike, low: float, high: float, table: Sequence[Colour]) -> Picture:
    """Return values (H, W) in the interpolated colours of a table, (H, W, 3)."""
    plane = np.asarray(values, dtype=np.float64)
    steps = np.arange(len(table))
    at = _fraction(plane, low, high) * steps[-1]
    rows = np.array(table, dtype=np.float64)
    channels = [np.interp(at, steps, rows[:, channel]) for channel in range(3)]
    # 3 times (H, W) -> (H, W, 3)
    return _masked(np.rint(np.stack(channels, axis=-1)), plane)


def grey(values: ArrayLike, low: float, high: float) -> Picture:
    """Return values (H, W) as grey, black at `low` and white at `high`, (H, W, 3).

    Values outside the range take the colour of its end.
    """
    plane = np.asarray(values, dtype=np.float64)
    shades = np.rint(_fraction(plane, low, high) * 255.0)
    # (H, W) -> (H, W, 3)
    return _masked(np.repeat(shades[..., None], 3, axis=-1), plane)


def directions(vectors: ArrayLike) -> Picture:
    """Return directions (3, H, W), x right, y down, z forward, as (n + 1) / 2 in RGB, (H, W, 3).

    The length of a vector is not shown.
    """
    values = np.asarray(vectors, dtype=np.float64)
    missing = _missing(values).all(axis=0)
    values = np.where(missing, 0.0, values)
    # (3, H, W) -> (H, W)
    length = np.linalg.norm(values, axis=0)
    unit = values / np.where(length > 0, length, 1.0)
    # (3, H, W) -> (H, W, 3)
    picture = np.rint((unit + 1.0) * 127.5).astype(np.uint8).transpose(1, 2, 0)
    picture[missing] = NO_TARGET
    return picture


def _missing(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = (values == IGNORE) | ~np.isfinite(values)
    return found


def _fraction(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return the place of each value in [low, high] as a share in [0, 1].

    Missing values give 0, as do all values of an empty range.
    """
    if high <= low:
        return np.zeros_like(values)
    return np.clip((np.where(_missing(values), low, values) - low) / (high - low), 0.0, 1.0)


def _masked(picture: NDArray[np.float64], values: NDArray[np.float64]) -> Picture:
    """Return a picture (H, W, 3) as bytes, with `NO_TARGET` where values (H, W) are missing."""
    result = picture.astype(np.uint8)
    result[_missing(values)] = NO_TARGET
    return result
