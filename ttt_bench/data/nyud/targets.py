"""Make targets from NYUD-v2's native arrays, at the files' size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import Floats
from ttt_bench.tasks import IGNORE


def semseg(ids: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return (H, W) class indices of native ids (H, W) by `LabelSpace.table`, 255 for none."""
    return table[ids]


def depth(metres: Floats) -> Floats:
    """Return (1, H, W) depth of (H, W) metres, 255 where it is 0, that is, missing."""
    return np.where(metres == 0, np.float32(IGNORE), metres)[None]


def edge(values: Floats) -> Floats:
    """Return (1, H, W) edges of (H, W) in 0..1; every pixel is valid."""
    return values[None]
