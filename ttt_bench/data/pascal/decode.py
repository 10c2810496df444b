"""Decode PASCAL-Context's native files, and check all that targets rely on. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.files import GREY, LABELS, PHOTO_AS_STORED, RGB, read_image
from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.pascal import matlab, parts
from ttt_bench.data.pascal.ids import CONTEXT_OF_VOC, MAX_CONTEXT, VOC_VOID
from ttt_bench.data.pascal.index import CONTEXT
from ttt_bench.errors import DataError

VARIABLE = "LabelMap"
"""The name of the Context label maps in their files."""
SALIENT = 127
"""A pixel is salient if its value of 0..255 is larger, as in ASTMT's public code."""


def read(path: Path, part: str) -> NDArray[Any]:
    """Return the file of a part as an array.

    Returns:
        `image` and `normals` (H, W, 3) uint8; `semseg` (H, W) uint8 VOC ids, 0..20 and 255 (the
        indices of a palette image); `context` (H, W) uint16, 0..459; `edge` (H, W) bool, as stored
        by `edges.keep`; `human_parts` as `parts.read` returns them; `saliency` (H, W) bool.

    Raises:
        DataError: the file is missing, damaged, of the wrong kind or out of range.
    """
    if part in (IMAGE, "normals"):
        return read_image(path, PHOTO_AS_STORED if part == IMAGE else RGB)
    readers = {
        "semseg": _labels,
        CONTEXT: _context,
        "edge": _edge,
        "human_parts": parts.read,
        "saliency": _saliency,
    }
    return readers[part](path)


def _labels(path: Path) -> NDArray[Any]:
    labels = read_image(path, LABELS)
    strange = labels[(labels >= len(CONTEXT_OF_VOC)) & (labels != VOC_VOID)]
    if strange.size:
        raise DataError(
            f"{path}: label {strange[0]} is out of range, expected "
            f"0..{len(CONTEXT_OF_VOC) - 1} or {VOC_VOID}"
        )
    return labels


def _context(path: Path) -> NDArray[Any]:
    labels = np.asarray(matlab.variable(path, VARIABLE))
    if labels.ndim != 2 or not labels.size or labels.dtype.kind not in "uif":
        raise DataError(
            f"{path}: {VARIABLE} is {labels.dtype} of shape {labels.shape}, "
            "expected integers (H, W)"
        )
    whole = labels.astype(np.uint16)
    if (whole != labels).any() or whole.max() > MAX_CONTEXT:
        raise DataError(
            f"{path}: {VARIABLE} holds {labels.max()}, expected whole numbers 0..{MAX_CONTEXT}"
        )
    return whole


def _edge(path: Path) -> NDArray[Any]:
    edges = read_image(path, GREY)
    if not np.isin(edges, (0, 255)).all():
        raise DataError(
            f"{path}: edges other than 0 and 255; delete the file, to make edges from labels"
        )
    return np.asarray(edges > 0)


def _saliency(path: Path) -> NDArray[Any]:
    return np.asarray(read_image(path, GREY) > SALIENT)
