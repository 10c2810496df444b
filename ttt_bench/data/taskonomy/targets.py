"""Make targets from native arrays: pure functions on NumPy arrays.

By default the handling is the `corrected` variant: labels are resized to the nearest pixel, and
invalid pixels are masked at full resolution before values are averaged. The encodings of depth and
edges are those of S4T's public code. Continuous targets are resized with Pillow's bilinear filter
(which averages when it shrinks), weighted by the mask, so that an invalid value never reaches a
target. Sizes are (H, W).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttt_bench.data.images.files import Size
from ttt_bench.data.images.normals import (
    HARNESS_AXES,
    Floats,
    Mask,
    decode_normals,
    normals_mask,
    to_harness,
)
from ttt_bench.tasks import IGNORE

INVALID_DEPTH = 65_036
"""The smallest invalid count: the annotator masks all counts within 500 of the largest. A count of
0 is invalid too; the published files have none, but converted ones mark missing depth so.
"""
DEPTH_MARGIN = 4
"""Pixels at full resolution that are masked around invalid depth, as public loaders do."""
EDGE_FULL_SCALE = 409.6
"""Counts that map to 1 (0.00625 * 65536); stronger edges map to more."""
EDGE_SIGMA = 4.0
"""Standard deviation of the blur on edges in pixels of a target of 256x256."""
OF_ZEROS: dict[str, float] = {"semseg": IGNORE, "depth": 0.0, "normals": -1.0, "edge": -1.0}
"""Task -> the target value that a file of zeros gives."""
LOG_RANGE = float(np.log(65_536.0))

_KEPT = 0.5  # a target pixel is valid if at least this share of what it averages is


def image(rgb: NDArray[np.uint8], size: Size) -> Floats:
    """Return (3, *size) RGB in [0, 1] of an image (H, W, 3) uint8."""
    resized = Image.fromarray(rgb).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    planes = np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))
    return planes.astype(np.float32) / np.float32(255.0)


def semseg(
    ids: NDArray[np.uint8], table: NDArray[np.uint8], size: Size, *, bilinear: bool = False
) -> NDArray[np.int64]:
    """Return (*size) class indices, 255 for none, of native ids (H, W).

    Args:
        table: class index per native id (`LabelSpace.table`).
        bilinear: average ids at borders like shades of grey, which gives ids of other classes.
    """
    filtered = Image.Resampling.BILINEAR if bilinear else Image.Resampling.NEAREST
    resized = Image.fromarray(np.ascontiguousarray(ids)).resize((size[1], size[0]), filtered)
    found: NDArray[np.int64] = table[np.asarray(resized)].astype(np.int64)
    return found


def depth(
    counts: NDArray[Any], size: Size, *, masked: bool = True, margin: int = DEPTH_MARGIN
) -> Floats:
    """Return (1, *size) log(1 + d) / log(65536) of counts (H, W), 255 where depth is invalid.

    Metres are (65536 ** target - 1) / 512.

    Args:
        counts: of any integer type.
        masked: mask invalid pixels. Otherwise invalid counts are used as depth, and 65535 gives 1.
        margin: distance in pixels from an invalid pixel within which pixels are invalid too.
    """
    resized, kept = resized_depth(counts, size, masked=masked, margin=margin)
    # for integer counts, a table of logarithms is several times faster than computing them
    target = _logarithms()[counts][None] if counts.shape == size else np.log1p(resized) / LOG_RANGE
    return _marked(target, kept)


@lru_cache(maxsize=1)
def _logarithms() -> Floats:
    """Return (65536,), the target of each count."""
    return np.asarray(np.log1p(np.arange(65_536, dtype=np.float32)) / LOG_RANGE, dtype=np.float32)


def resized_depth(
    counts: NDArray[Any], size: Size, *, masked: bool = True, margin: int = DEPTH_MARGIN
) -> tuple[Floats, Mask]:
    """Return the mean of valid counts, (1, *size), and whether enough were valid, (*size)."""
    valid = depth_mask(counts, margin) if masked else np.ones(counts.shape, dtype=np.bool_)
    return _resize_masked(counts.astype(np.float32)[None], valid, size)


def invalid_depth(counts: NDArray[Any]) -> Mask:
    """Return (H, W): whether a count is invalid: 0, or `INVALID_DEPTH` and more."""
    return np.asarray((counts == 0) | (counts >= INVALID_DEPTH))


def depth_mask(counts: NDArray[Any], margin: int = DEPTH_MARGIN) -> Mask:
    """Return (H, W): whether no invalid pixel is within `margin` rows and columns."""
    invalid = invalid_depth(counts)
    for _ in range(2 if margin else 0):  # down, then across
        near = invalid.copy()
        for step in range(1, margin + 1):
            near[step:] |= invalid[:-step]
            near[:-step] |= invalid[step:]
        invalid = near.T
    return np.asarray(~invalid)


def normals(
    rgb: NDArray[np.uint8], size: Size, axes: str = HARNESS_AXES, *, masked: bool = True
) -> Floats:
    """Return (3, *size) unit vectors (x right, y down, z forward) of an image (H, W, 3) uint8.

    They are 255 where the image has no geometry.

    Args:
        axes: the axes of the file, as in `ttt_bench.data.images.normals`.
        masked: mask pixels without geometry. Otherwise the image is resized unchanged and every
            pixel is a target; vectors then have only about unit length, and nearly zero length
            without geometry.
    """
    if not masked:
        resized = Image.fromarray(rgb).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return to_harness(decode_normals(np.asarray(resized)), axes)
    averaged, kept = _resize_masked(to_harness(decode_normals(rgb), axes), normals_mask(rgb), size)
    x, y, z = averaged
    length = np.sqrt(x * x + y * y + z * z)
    kept &= length > 1e-3  # opposite directions may cancel
    return _marked(averaged / np.where(kept, length, 1.0), kept)


def edge(counts: NDArray[Any], size: Size, *, blurred: bool = False) -> Floats:
    """Return (1, *size) edges: counts e (H, W), blurred, then 2 e / 409.6 - 1.

    Every pixel is valid. The files are 0, no edge, wherever depth is invalid, so that no invalid
    value can spread.

    Args:
        counts: of any integer type.
        blurred: whether the counts are blurred already.
    """
    smooth = _resize(counts.astype(np.float32), size) if blurred else blurred_edge(counts, size)
    return (smooth * np.float32(2.0 / EDGE_FULL_SCALE) - np.float32(1.0))[None]


def blurred_edge(counts: NDArray[Any], size: Size) -> Floats:
    """Return (*size): counts (H, W) of any integer type, averaged, then blurred.

    The blur is `EDGE_SIGMA` at 256 pixels and grows with the size, on each axis.
    """
    rows, columns = (_blur_matrix(length) for length in size)
    return np.asarray(rows @ _resize(counts.astype(np.float32), size) @ columns.T, dtype=np.float32)


@lru_cache(maxsize=8)
def _blur_matrix(length: int) -> Floats:
    """Return (L, L), the matrix of a Gaussian blur, cut at 4 sigma, with mirrored borders."""
    sigma = EDGE_SIGMA * length / 256.0
    radius = max(round(4.0 * sigma), 1)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    period = 2 * length
    sources = (np.arange(length)[:, None] + offsets) % period
    mirrored = np.where(sources < length, sources, period - 1 - sources)
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, None], mirrored), weights)
    return matrix.astype(np.float32)


def _resize_masked(values: Floats, valid: Mask, size: Size) -> tuple[Floats, Mask]:
    """Return (C, *size), values (C, H, W) averaged over valid pixels, and where enough were."""
    if values.shape[1:] == size:
        return values, valid
    if valid.all():
        return np.stack([_resize(plane, size) for plane in values]), np.ones(size, dtype=np.bool_)
    weight = _resize(valid.astype(np.float32), size)
    kept = weight >= _KEPT
    masked = np.where(valid, values, np.float32(0.0))
    averaged = np.stack([_resize(plane, size) for plane in masked]) / np.where(kept, weight, 1.0)
    return averaged.astype(np.float32), kept


def _resize(plane: Floats, size: Size) -> Floats:
    if plane.shape == size:
        return plane
    resized = Image.fromarray(np.ascontiguousarray(plane)).resize(
        (size[1], size[0]), Image.Resampling.BILINEAR
    )
    return np.asarray(resized)


def _marked(target: NDArray[Any], kept: Mask) -> Floats:
    return np.where(kept, target, np.float32(IGNORE)).astype(np.float32, copy=False)
