"""Decode native PNG files to arrays, and check every property that a target relies on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.files import (
    GREY16,
    LABELS,
    PHOTO,
    RGB,
    ImageFormat,
    Problem,
    image_file_size,
    open_image,
    read_image,
)
from ttt_bench.data.taskonomy.index import IMAGE, Frames
from ttt_bench.errors import DataError

MAX_LABEL = 17
"""The largest native semantic id."""


_FORMATS: dict[str, ImageFormat] = {
    IMAGE: PHOTO,
    "semseg": LABELS,
    "depth": GREY16,
    "normals": RGB,
    "edge": GREY16,
}


def read(path: Path, part: str) -> NDArray[Any]:
    """Return the file of a part as an array.

    Returns:
        `rgb` and `normals` (H, W, 3) uint8, `semseg` (H, W) uint8 native ids (the indices of a
        palette image), `depth` and `edge` (H, W) uint16 counts.

    Raises:
        DataError: the file is missing, damaged, of the wrong kind or out of range.
    """
    array = read_image(path, _FORMATS[part])
    if _FORMATS[part] is GREY16:
        return array.astype(np.uint16)
    if part == "semseg" and array.max(initial=0) > MAX_LABEL:
        raise DataError(f"{path}: label {array.max()} is out of range, expected 0..{MAX_LABEL}")
    return array


def size_of(path: Path, part: str) -> tuple[int, int]:
    """Return (H, W) of a part's file, from its header.

    Raises:
        DataError: the file is missing, not an image, or of the wrong kind.
    """
    return image_file_size(path, _FORMATS[part])


def is_palette(path: Path) -> bool:
    """Return whether a semantic map is an image with a palette.

    Raises:
        DataError: the file is missing, or not a label map.
    """
    with open_image(path, LABELS) as image:
        return image.mode == "P"


def read_frame(frames: Frames, index: int, tasks: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays of all parts of a frame.

    Raises:
        DataError: a file is damaged, or the parts differ in size.
    """
    arrays = {part: read(frames.path(index, part), part) for part in (IMAGE, *tasks)}
    for part, array in arrays.items():
        _same_size(frames.path(index, part), array.shape[:2], arrays[IMAGE].shape[:2])
    return arrays


def problems(frames: Frames, index: int, tasks: Sequence[str], *, full: bool) -> list[Problem]:
    """Return the problems of a frame's files.

    Args:
        full: decode the files; otherwise only their headers are read.
    """
    found = []
    sizes: dict[str, tuple[int, ...]] = {}
    for part in (IMAGE, *tasks):
        path = frames.path(index, part)
        try:
            sizes[part] = read(path, part).shape[:2] if full else size_of(path, part)
            _same_size(path, sizes[part], sizes.get(IMAGE, sizes[part]))
        except DataError as error:
            found.append(Problem(path, str(error)))
    return found


def _same_size(path: Path, size: tuple[int, ...], image: tuple[int, ...]) -> None:
    if size != image:
        raise DataError(
            f"{path}: {size[1]}x{size[0]} pixels, but the frame's rgb has {image[1]}x{image[0]}"
        )
