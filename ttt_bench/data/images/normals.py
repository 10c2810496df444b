"""Surface normals: the axes that files store them in, and the way to the harness's axes. Imports no
torch.

The harness's axes are x right, y down, z forward, towards the camera. A file's axes are written as
where its three channels point, such as "left / up / backward". Nothing in a file says which they
are, so they are measured, or assumed.
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
"""What every data set's normals are converted to; Taskonomy's files are assumed to have it."""
NYUD_AXES = "left / up / backward"
"""What NYUD-v2 and PASCAL-Context are assumed to have: S4T's public code negates Taskonomy's
normals to match them.
"""
EVERY_AXES: tuple[str, ...] = tuple(
    " / ".join(words) for triple in permutations(_DIRECTIONS) for words in product(*triple)
)
"""All 48 possible axes of a file."""


def to_harness(vectors: Floats, axes: str) -> Floats:
    """(3, ...) in a file's axes -> (3, ...) right / down / forward.

    Raises:
        BenchError: `axes` does not name one direction for each of the three axes.
    """
    if axes not in EVERY_AXES:
        raise BenchError(
            f"normal axes {axes!r} are none: write where the three channels point, one of right or left, one of down "
            f"or up, one of forward or backward, such as {HARNESS_AXES!r}"
        )
    converted = np.empty_like(vectors)
    for channel, word in enumerate(axes.split(" / ")):
        axis, sign = _AXIS_AND_SIGN[word]
        converted[axis] = sign * vectors[channel]
    return converted


def decode_normals(rgb: NDArray[np.uint8]) -> Floats:
    """(H, W, 3) uint8 -> (3, H, W): (v - 127.5) / 127.5, of about unit length."""
    planes = np.ascontiguousarray(
        rgb.transpose(2, 0, 1)
    )  # all that follows is faster on whole planes
    return (planes.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)


def normals_mask(rgb: NDArray[np.uint8]) -> Mask:
    """(H, W): where there is a normal; 8-bit maps hold middle grey, 127 or 128 in each channel,
    where there is none.
    """
    far = (
        rgb - np.uint8(127)
    ) > 1  # below 127 wraps around; several times faster than `any` over so short an axis
    return np.asarray(far[..., 0] | far[..., 1] | far[..., 2])


def file_vectors(normals: NDArray[Any], masked: bool = True) -> Floats:
    """(H, W, 3), an 8-bit picture or float vectors -> (3, H, W) in the file's axes, zero where
    there is no normal.

    Args:
        masked: whether middle grey is no normal in a picture. None of its values decodes to exactly
            zero, so that otherwise every pixel has one.
    """
    if normals.dtype != np.uint8:
        return np.ascontiguousarray(normals.transpose(2, 0, 1))
    decoded = decode_normals(normals)
    return np.where(normals_mask(normals), decoded, np.float32(0.0)) if masked else decoded


def unit_normals(vectors: Floats, axes: str) -> Floats:
    """(3, H, W) in a file's axes, of any length -> unit vectors in the harness's; 255 where the
    length is zero.
    """
    converted = to_harness(vectors, axes)
    length = np.sqrt(np.square(converted).sum(axis=0))
    there = length > 1e-6
    return np.where(there, converted / np.where(there, length, 1.0), IGNORE).astype(np.float32)
