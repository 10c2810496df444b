"""The parts of people in PASCAL-Part's files, `human_parts/ID.mat`. Imports no torch.

A file has the structure `anno` with `objects`: one entry per object of the image, with `class_ind`
(a VOC id), `mask` (H, W) and `parts`, each of which has `part_name` and `mask` (H, W).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.pascal import matlab
from ttt_bench.data.pascal.ids import PART_OF, PERSON
from ttt_bench.errors import DataError
from ttt_bench.tasks import HUMAN_PARTS

VARIABLE = "anno"
"""The name of the structure in a file."""


def read(path: Path) -> NDArray[np.uint8]:
    """Return (H, W), the index in `HUMAN_PARTS` of each pixel; 0 outside people.

    Later parts of a file cover earlier ones. An image without objects has no size in its file: the
    result is (0, 0).

    Raises:
        DataError: the file is missing, damaged, of another kind, or has an unknown part.
    """
    try:
        objects = _entries(matlab.variable(path, VARIABLE, structured=True)["objects"])
        masks = [np.asarray(each["mask"]) for each in objects]
        labels = np.zeros(masks[0].shape if masks else (0, 0), dtype=np.uint8)
        for name, mask in _parts(objects):
            labels[np.asarray(mask, dtype=np.bool_)] = HUMAN_PARTS.index(PART_OF[name])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: not a file of PASCAL-Part's annotations ({type(error).__name__}: {error}); "
            "expected anno.objects with class_ind, mask and parts, and parts with part_name "
            f"({', '.join(sorted(PART_OF))}) and mask"
        ) from error
    if labels.ndim != 2:
        raise DataError(f"{path}: a mask has the shape {labels.shape}, expected (H, W)")
    return labels


def _parts(objects: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, Any]]:
    """Yield the name and the mask of every part of every person."""
    for each in objects:
        if int(each["class_ind"]) == PERSON:
            for part in _entries(each["parts"]):
                yield str(part["part_name"]), part["mask"]


def _entries(found: Any) -> list[Any]:
    """Return an array of structures as a list; MATLAB's arrays of one are the structure itself."""
    return [found] if isinstance(found, dict) else list(found)
