"""Contour maps: where images, label maps, depth and normals change. All functions are pure.

A contour map has mean 0 and unit length, so that the product of two maps is their correlation.
Values are ranks for continuous parts, so that neither contrast nor units matter. The local mean is
subtracted, so that only the places of contours matter, not in which regions there are many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import Mask, file_vectors

Contours = NDArray[np.float32]
"""(h, w), at a reduced size."""

_LONGEST = 320  # pixels of the longer side of a contour map, at most
_BORDER = 24  # 1/24 of the pixels is cut off at each side: frames of NYUD-v2 have a border
_SAME = 2  # difference of values of 0..255 in an image of a single colour
_WINDOW = 15  # pixels of a contour map over which the local mean is taken
_LEAST_STEP = 20.0  # 99th percentile of an image's steps, summed over red, green and blue of 0..255
_FEWEST = 0.003  # share of pixels with a contour; a picture with fewer shows nothing


def reduction(shape: tuple[int, ...]) -> int:
    """Return how many pixels of a picture (H, W, ...) are one pixel of its contour map per axis."""
    return -(-max(shape[:2]) // _LONGEST)


def image_contours(rgb: NDArray[Any]) -> Contours | None:
    """Return the contours of an image (H, W, 3) of 0..255, None for one without clear contours."""
    steps = _steps(_averaged(_inner(rgb)))
    return _ranked(steps) if np.percentile(steps, 99) >= _LEAST_STEP else None


def is_empty(rgb: NDArray[Any]) -> bool:
    """Return whether an image (H, W, 3) of 0..255 has a single colour."""
    colours = _inner(rgb).reshape(-1, rgb.shape[2])
    return bool((np.ptp(colours, axis=0) <= _SAME).all())


def label_contours(ids: NDArray[Any]) -> Contours | None:
    """Return the borders of a label map (H, W), None without any."""
    return _unit((_steps(_picked(_inner(ids)).astype(np.float32)) > 0).astype(np.float32))


def edge_contours(edges: NDArray[Any]) -> Contours | None:
    """Return the contours of an edge map (H, W), 0 or 1; None without any edge."""
    return _unit(_averaged(_inner(edges.astype(np.float32))))


def depth_contours(depth: NDArray[Any], valid: Mask) -> Contours | None:
    """Return the jumps and folds of depth (H, W), positive where valid (H, W).

    Inverse depth of a plane is a linear function of the pixel. So its second differences are 0 on
    every plane, also on one at a grazing angle.

    Returns:
        None for an empty map.
    """
    if not valid.any():
        return None
    inverse = 1.0 / _averaged(_inner(np.where(valid, depth, np.median(depth[valid]))))
    lacking = _averaged(_inner(~valid)) > 0
    return _ranked(np.where(lacking, 0.0, _bends(inverse) / inverse))


def normal_contours(normals: NDArray[Any]) -> Contours | None:
    """Return the contours of a normal map (H, W, 3) as stored; None for an empty map."""
    return _ranked(_steps(_averaged(_inner(file_vectors(normals).transpose(1, 2, 0)))))


def _inner(values: NDArray[Any]) -> NDArray[Any]:
    """Return the picture (H, W, ...) without its border."""
    rows, columns = (length // _BORDER for length in values.shape[:2])
    return values[rows : values.shape[0] - rows, columns : values.shape[1] - columns]


def _averaged(values: NDArray[Any]) -> NDArray[np.float32]:
    """Return the picture (H, W, ...) at the reduced size, averaged over blocks."""
    factor = reduction(values.shape)
    height, width = (length // factor for length in values.shape[:2])
    whole = values[: height * factor, : width * factor].astype(np.float32)
    # (h f, w f, ...) -> (h, w, ...)
    blocks = whole.reshape(height, factor, width, factor, *values.shape[2:])
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _picked(ids: NDArray[Any]) -> NDArray[Any]:
    """Return the labels (H, W) at the reduced size, the middle pixel of each block."""
    factor = reduction(ids.shape)
    height, width = (length // factor for length in ids.shape)
    return ids[factor // 2 :: factor, factor // 2 :: factor][:height, :width]


def _steps(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (h, w), the largest difference of a pixel (h, w, ...) from its four neighbours."""
    planes = values.reshape(*values.shape[:2], -1)
    steps = np.zeros(planes.shape[:2], dtype=np.float32)
    across = np.abs(np.diff(planes, axis=1)).sum(axis=2)
    down = np.abs(np.diff(planes, axis=0)).sum(axis=2)
    for part, size in (
        (steps[:, 1:], across),
        (steps[:, :-1], across),
        (steps[1:], down),
        (steps[:-1], down),
    ):
        np.maximum(part, size, out=part)
    return steps


def _bends(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (h, w), the larger second difference of a pixel (h, w) along rows and columns."""
    padded = np.pad(values, 1, mode="reflect", reflect_type="odd")
    across = padded[1:-1, :-2] - 2 * values + padded[1:-1, 2:]
    down = padded[:-2, 1:-1] - 2 * values + padded[2:, 1:-1]
    return np.asarray(np.maximum(np.abs(across), np.abs(down)))


def _ranked(steps: NDArray[Any]) -> Contours | None:
    """Return the contours whose values are the ranks of the steps; equal steps have one rank."""
    values, places, counts = np.unique(steps, return_inverse=True, return_counts=True)
    if len(values) < 2:
        return None
    ends = np.cumsum(counts)
    return _unit(((2 * ends - counts) / 2)[places].reshape(steps.shape))


def _unit(values: NDArray[Any]) -> Contours | None:
    """Return the values with mean 0 and unit length; None if too few pixels differ from most."""
    if min(values.shape) < 2 or (values != np.median(values)).mean() < _FEWEST:
        return None
    centred = values - _local_mean(_local_mean(values.astype(np.float64)).T).T
    centred -= centred.mean()
    length = np.linalg.norm(centred)
    return np.asarray(centred / length, dtype=np.float32) if length > 0 else None


def _local_mean(values: NDArray[Any]) -> NDArray[Any]:
    """Return the means over a window of columns; the outermost columns are repeated."""
    reach = _WINDOW // 2
    sums = np.pad(values, ((0, 0), (reach + 1, reach)), mode="edge").cumsum(axis=1)
    return np.asarray((sums[:, _WINDOW:] - sums[:, :-_WINDOW]) / _WINDOW)
