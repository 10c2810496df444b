"""PASCAL-Context's native arrays to targets: pure functions, numpy in and numpy out, at the
files' own size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import Floats
from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.pascal.ids import normals_valid
from ttt_bench.tasks import IGNORE


def semseg(space: LabelSpace, ids: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """VOC ids (`pascal`), Context ids (`pascal_context`) or both, (H, W) -> (H, W) class indices,
    255 for none.

    Where a Context id means a class, that is the pixel's class; elsewhere the VOC id decides.
    """
    found = [space.table(name)[ids[name]] for name in ("pascal_context", "pascal") if name in ids]
    return found[0] if len(found) == 1 else np.where(found[0] == IGNORE, found[1], found[0])


def trusted(vectors: Floats, context: NDArray[Any]) -> Floats:
    """(3, H, W) vectors, zero where the Context label (H, W) is of nothing that occurs indoors."""
    return np.where(normals_valid()[context], vectors, np.float32(0.0))


def edge(edges: NDArray[np.bool_]) -> Floats:
    """(H, W) -> (1, H, W), 0 or 1; every pixel is valid."""
    return edges.astype(np.float32)[None]
