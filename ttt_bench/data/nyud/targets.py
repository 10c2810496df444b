"""NYUD-v2's native arrays to targets: pure functions, numpy in and numpy out, at the files' own
size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import Floats
from ttt_bench.tasks import IGNORE


def semseg(ids: NDArray[np.uint8], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W) native ids -> (H, W) class indices by `LabelSpace.table`, 255 where there is none."""
    return table[ids]


def depth(metres: Floats) -> Floats:
    """(H, W) metres -> (1, H, W); 255 where depth is 0, that is, missing."""
    return np.where(metres == 0, np.float32(IGNORE), metres)[None]


def edge(values: Floats) -> Floats:
    """(H, W) in 0..1 -> (1, H, W); every pixel is valid."""
    return values[None]
