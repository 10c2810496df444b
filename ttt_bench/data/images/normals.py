"""Surface normals: the axes of files, and the conversion to the harness's axes. Imports no torch.

The harness's axes are x right, y down, z forward; normals point towards the camera. The axes of a
file are written as the directions of its three channels, such as "left / up / backward". Files do
not state their axes, so they are measured or assumed.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.errors import BenchError
from ttt_bench.tasks import IGNORE

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_DIRECTIONS = (("right", "left"), ("down", "up"), ("forward", "backward"))
_AXIS_AND_SIGN = {
    word: (axis, sign)
    for axis, words in enumerate(_DIRECTIONS)
    for word, sign in zip(words, (1, -1), strict=True)
}

HARNESS_AXES = "right / down / forward"
"""The axes of all targets; Taskonomy's files are assumed to have them."""
NYUD_AXES = "left / up / backward"
"""The assumed axes of NYUD-v2 and PASCAL-Context: S4T's public code negates Taskonomy's normals to
match them.
"""
EVERY_AXES: tuple[str, ...] = tuple(
    " / ".join(words) for triple in permutations(_DIRECTIONS) for words in product(*triple)
)
"""All 48 possible axes of a file."""


def to_harness(vectors: Floats, axes: str) -> Floats:
    """Return vectors (3, ...) in a file's axes as right / down / forward.

    Raises:
        BenchError: `axes` does not name one direction for each of the three axes.
    """
    if axes not in EVERY_AXES:
        raise BenchError(
            f"normal axes {axes!r} are invalid: give the directions of the three channels, one of "
            "right or left, one of down or up, one of forward or backward, such as "
            f"{HARNESS_AXES!r}"
        )
    converted = np.empty_like(vectors)
    for channel, word in enumerate(axes.split(" / ")):
        axis, sign = _AXIS_AND_SIGN[word]
        converted[axis] = sign * vectors[channel]
    return converted


def decode_normals(rgb: NDArray[np.uint8]) -> Floats:
    """Return (3, H, W), (v - 127.5) / 127.5 of (H, W, 3) uint8; vectors of about unit length."""
    # (H, W, 3) -> (3, H, W); later steps are faster on contiguous planes
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    return (planes.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)


def normals_mask(rgb: NDArray[np.uint8]) -> Mask:
    """Return (H, W): whether a pixel of an 8-bit map (H, W, 3) has a normal.

    Pixels without a normal are middle grey, 127 or 128 in each channel. Black and white also mark
    them in some files; as vectors they would have a length of 1.73.
    """
    # values below 127 wrap around; `|` is several times faster than `any` over three values
    far = (rgb - np.uint8(127)) > 1
    grey = ~(far[..., 0] | far[..., 1] | far[..., 2])
    black = (rgb[..., 0] | rgb[..., 1] | rgb[..., 2]) == 0
    white = (rgb[..., 0] & rgb[..., 1] & rgb[..., 2]) == 255
    return np.asarray(~(grey | black | white))


def file_vectors(normals: NDArray[Any], *, masked: bool = True) -> Floats:
    """Return (3, H, W) vectors in the file's axes, zero without a normal.

    Args:
        normals: (H, W, 3), an 8-bit image or float vectors.
        masked: whether the colours of `normals_mask` mark a missing normal. Otherwise every pixel
            has one, since no 8-bit value decodes to exactly zero.
    """
    if normals.dtype != np.uint8:
        return np.ascontiguousarray(normals.transpose(2, 0, 1))
    decoded = decode_normals(normals)
    return np.where(normals_mask(normals), decoded, np.float32(0.0)) if masked else decoded


def unit_normals(vectors: Floats, axes: str) -> Floats:
    """Return unit vectors (3, H, W) in the harness's axes, 255 where the length is zero.

    Args:
        vectors: (3, H, W) of any length, in the file's axes.
        axes: the file's axes.
    """
    converted = to_harness(vectors, axes)
    length = np.sqrt(np.square(converted).sum(axis=0))
    there = length > 1e-6
    return np.where(there, converted / np.where(there, length, 1.0), IGNORE).astype(np.float32)
