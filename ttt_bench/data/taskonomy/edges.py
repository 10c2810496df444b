"""Taskonomy's occlusion edges from its depth, by the annotator's formula. Imports no torch.

Source: the formula of the public annotation scripts, as measured on published files.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import Mask
from ttt_bench.data.taskonomy.targets import depth_mask

_FULL = 65_535.0


def edges_from_depth(counts: NDArray[Any]) -> NDArray[np.uint16]:
    """Return 65535 times the Sobel magnitude of the square root of depth in 0..1.

    The magnitude is the root of the mean of two squares; each kernel's positive weights add to 1.
    It is 0 outside `edge_mask`.

    Args:
        counts: (H, W) depth.

    Returns:
        (H, W) counts.
    """
    root = np.pad(np.sqrt(counts / (_FULL + 1.0)), 1)
    above = root[:-2] + 2.0 * root[1:-1] + root[2:]
    left = root[:, :-2] + 2.0 * root[:, 1:-1] + root[:, 2:]
    across, down = (above[:, 2:] - above[:, :-2]) / 4.0, (left[2:] - left[:-2]) / 4.0
    strength = _FULL * np.sqrt((across**2 + down**2) / 2.0)
    return np.where(edge_mask(counts), np.rint(strength), 0.0).astype(np.uint16)


def edge_mask(counts: NDArray[Any]) -> Mask:
    """Return (H, W): whether the 3x3 window is inside the image and all of its depth is valid."""
    mask = depth_mask(counts, margin=1)
    mask[[0, -1]] = mask[:, [0, -1]] = False
    return mask
