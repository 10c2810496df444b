"""Make targets from PASCAL-Context's native arrays, at the files' size."""

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
    """Return (H, W) class indices, 255 for none.

    A pixel has the class of its Context id, if that means one, else the class of its VOC id.

    Args:
        ids: VOC ids (`pascal`), Context ids (`pascal_context`) or both, each (H, W).
    """
    found = [space.table(name)[ids[name]] for name in ("pascal_context", "pascal") if name in ids]
    result: NDArray[np.uint8] = (
        found[0] if len(found) == 1 else np.where(found[0] == IGNORE, found[1], found[0])
    )
    return result


def trusted(vectors: Floats, context: NDArray[Any]) -> Floats:
    """Return vectors (3, H, W), zero where the Context label (H, W) is not an indoor object."""
    return np.where(normals_valid()[context], vectors, np.float32(0.0))


def binary(values: NDArray[np.bool_]) -> Floats:
    """Return (1, H, W) edges or saliency, 0 or 1, of (H, W); every pixel is valid."""
    return values.astype(np.float32)[None]
