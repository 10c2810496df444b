"""Targets and predictions as pictures: pure functions from arrays to (H, W, 3) uint8. Needs numpy
alone.

A pixel without a target (255) is `NO_TARGET`, a light grey, in every task.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt_bench.tasks import IGNORE

Picture = NDArray[np.uint8]

NO_TARGET: tuple[int, int, int] = (221, 221, 221)

CLASS_COLOURS: tuple[tuple[int, int, int], ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
    (204, 121, 167),
    (0, 0, 0),
)
"""RGB of each class index: Okabe and Ito's palette, told apart with every kind of colour blindness.
Later classes start again from the front.
"""

# viridis at 17 even steps; between them linear, which stays within 5 of 255 of the whole table
_VIRIDIS = (
    (68, 1, 84), (72, 24, 106), (71, 45, 123), (66, 64, 134), (59, 82, 139), (51, 99, 141), (44, 114, 142),
    (38, 130, 142), (33, 145, 140), (31, 160, 136), (40, 174, 128), (63, 188, 115), (94, 201, 98), (132, 212, 75),
    (173, 220, 48), (216, 226, 25), (253, 231, 37),
)  # fmt: skip


def class_colour(index: int) -> tuple[int, int, int]:
    """RGB of a class index; `NO_TARGET` for 255."""
    return NO_TARGET if index == IGNORE else CLASS_COLOURS[index % len(CLASS_COLOURS)]


def colour_semseg(labels: ArrayLike) -> Picture:
    """Class indices (H, W), 255 where there is none, as the colours of `CLASS_COLOURS`."""
    table = np.array([class_colour(index) for index in range(256)], dtype=np.uint8)
    return table[np.asarray(labels).astype(np.uint8)]


def colour_depth(depth: ArrayLike, low: float, high: float) -> Picture:
    """Depth (H, W) from dark (`low`) to bright (`high`) in viridis; values beyond the range take
    its ends.
    """
    values = _plane(depth)
    steps = np.arange(len(_VIRIDIS))
    at = _fraction(values, low, high) * steps[-1]
    table = np.array(_VIRIDIS, dtype=np.float64)
    channels = [np.interp(at, steps, table[:, channel]) for channel in range(3)]
    return _masked(np.rint(np.stack(channels, axis=-1)), values)


def colour_normals(normals: ArrayLike) -> Picture:
    """Directions (3, H, W), x right, y down, z forward, as (n + 1) / 2 in RGB; a vector's length
    does not show.
    """
    vectors = np.asarray(normals, dtype=np.float64)
    missing = _missing(vectors).all(axis=0)
    vectors = np.where(missing, 0.0, vectors)
    length = np.linalg.norm(vectors, axis=0)
    unit = vectors / np.where(length > 0, length, 1.0)
    picture = np.rint((unit + 1.0) * 127.5).astype(np.uint8).transpose(1, 2, 0)
    picture[missing] = NO_TARGET
    return picture


def colour_edge(edge: ArrayLike, low: float = 0.0, high: float = 1.0) -> Picture:
    """Edges (H, W) as grey, black at `low` and white at `high`; values beyond the range take its
    ends.
    """
    values = _plane(edge)
    grey = np.rint(_fraction(values, low, high) * 255.0)
    return _masked(np.repeat(grey[..., None], 3, axis=-1), values)


def _plane(values: ArrayLike) -> NDArray[np.float64]:
    """(H, W) or (1, H, W) -> (H, W)."""
    plane = np.asarray(values, dtype=np.float64)
    return plane[0] if plane.ndim == 3 else plane


def _missing(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (values == IGNORE) | ~np.isfinite(values)


def _fraction(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Where in [low, high] each value lies, in [0, 1]; missing ones at 0, as is all of an empty
    range.
    """
    if high <= low:
        return np.zeros_like(values)
    return np.clip((np.where(_missing(values), low, values) - low) / (high - low), 0.0, 1.0)


def _masked(picture: NDArray[np.float64], values: NDArray[np.float64]) -> Picture:
    result = picture.astype(np.uint8)
    result[_missing(values)] = NO_TARGET
    return result
