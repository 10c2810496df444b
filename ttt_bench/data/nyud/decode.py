"""Decode NYUD-v2's native files, and check all that targets rely on. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.files import GREY, LABELS, PHOTO_AS_STORED, RGB, read_image, read_npy
from ttt_bench.data.images.sample import IMAGE
from ttt_bench.errors import DataError

MAX_LABEL = 40
"""The largest native semantic id; 0 is void."""
MAX_DEPTH = 100.0
"""Metres. No room is as large, and a target of 255 would mean a missing depth."""

_MAX_COMPONENT = 1.02
_UNIT = (0.95, 1.05)
"""Lengths of unit vectors after rounding to 8 bits or resizing; half of a file's must be inside."""


def read(path: Path, part: str) -> NDArray[Any]:
    """Return the file of a part as an array.

    Returns:
        `image` (H, W, 3) uint8; `semseg` (H, W) uint8 native ids, 0..40; `depth` (H, W) float32
        metres, 0 for missing; `normals` (H, W, 3), uint8 as in the image or float32 vectors;
        `edge` (H, W) float32 in 0..1.

    Raises:
        DataError: the file is missing, damaged, of the wrong kind or out of range.
    """
    if part == IMAGE:
        return read_image(path, PHOTO_AS_STORED)
    return {"semseg": _labels, "depth": _depth, "normals": _normals, "edge": _edge}[part](path)


def shifted(labels: NDArray[np.uint8]) -> bool:
    """Return whether labels were lowered by one: 1..40 to 0..39, and void to 255 (or 254).

    Only a map with void pixels shows this.
    """
    large = labels >= 254
    return bool(large.any()) and bool((labels[~large] < MAX_LABEL).all())


def _labels(path: Path) -> NDArray[Any]:
    labels = read_image(path, LABELS)
    if shifted(labels):
        raise DataError(
            f"{path}: labels 0..{MAX_LABEL - 1} and 254 or 255: they have been lowered by one "
            "already (the VainF toolkit writes them so), and lowering them again would make void a "
            "class and walls void. Use the archive's label maps, where void is 0 and the classes "
            "are 1..40"
        )
    if labels.max(initial=0) > MAX_LABEL:
        raise DataError(f"{path}: label {labels.max()} is out of range, expected 0..{MAX_LABEL}")
    return labels


def _depth(path: Path) -> NDArray[Any]:
    metres = _plane(path)
    if metres.dtype.kind != "f":
        raise DataError(f"{path}: depth as {metres.dtype}, expected floating-point metres")
    if not np.isfinite(metres).all():
        raise DataError(f"{path}: depth is not finite everywhere; a missing depth is 0")
    low, high = float(metres.min(initial=0)), float(metres.max(initial=0))
    if low < 0 or high > MAX_DEPTH:
        wrong = low if low < 0 else high
        raise DataError(
            f"{path}: a depth of {wrong:g} m is out of range, expected 0..{MAX_DEPTH:g} metres"
        )
    return metres.astype(np.float32)


def _normals(path: Path) -> NDArray[Any]:
    if path.suffix != ".npy":
        return read_image(path, RGB)
    vectors = read_npy(path)
    if vectors.ndim != 3 or vectors.shape[2] != 3 or vectors.dtype.kind != "f":
        raise DataError(f"{path}: {_form(vectors)}, expected floating-point vectors (H, W, 3)")
    if not np.isfinite(vectors).all():
        raise DataError(
            f"{path}: vectors are not finite everywhere; a missing normal is 0 in every component"
        )
    largest = float(np.abs(vectors).max(initial=0))
    if largest > _MAX_COMPONENT:
        raise DataError(
            f"{path}: a component of {largest:g} is out of range, expected unit vectors, -1..1"
        )
    lengths = np.linalg.norm(vectors.astype(np.float32), axis=2)
    present = lengths[lengths > 0]
    if present.size and np.mean((present > _UNIT[0]) & (present < _UNIT[1])) < 0.5:
        raise DataError(
            f"{path}: vectors have a median length of {np.median(present):.3g}, expected 1 (0 for "
            "a missing normal). If they are stored as (n + 1) / 2, convert them to -1..1"
        )
    return vectors.astype(np.float32)


def _edge(path: Path) -> NDArray[Any]:
    if path.suffix != ".npy":
        grey = read_image(path, GREY)
        if grey.max(initial=0) == 1:
            raise DataError(f"{path}: edges of 0 and 1, expected 0 and 255")
        return grey / np.float32(255.0)
    edges = _plane(path)
    if edges.dtype.kind not in "buif" or not ((edges >= 0) & (edges <= 1)).all():
        raise DataError(f"{path}: edges as {_form(edges)} that are not all in 0..1")
    return edges.astype(np.float32)


def _plane(path: Path) -> NDArray[Any]:
    """Return (H, W) of a file with an array (H, W) or (H, W, 1)."""
    array = read_npy(path)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or not array.size:
        raise DataError(f"{path}: {_form(array)}, expected (H, W) or (H, W, 1)")
    return array


def _form(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
