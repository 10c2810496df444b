"""Native PNG files to arrays, with every property checked that a target relies on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ttt_bench.data.taskonomy.index import IMAGE, Frames
from ttt_bench.errors import DataError

MAX_LABEL = 17
"""The largest native semantic id."""


@dataclass(frozen=True)
class _Format:
    """What a part's files must be: in words, and Pillow's modes for it."""

    words: str
    modes: tuple[str, ...]


_GREY16 = _Format("16-bit grey", ("I;16", "I;16B", "I"))  # which of them depends on Pillow's version
_RGB = _Format("8-bit RGB", ("RGB",))
_FORMATS: dict[str, _Format] = {
    IMAGE: _RGB,
    "semseg": _Format("8-bit with one channel (grey or palette)", ("L", "P")),
    "depth": _GREY16,
    "normals": _RGB,
    "edge": _GREY16,
}
_MODE_WORDS = {
    "1": "1-bit",
    "L": "8-bit grey",
    "LA": "8-bit grey with alpha",
    "P": "8-bit palette",
    "RGB": "8-bit RGB",
    "RGBA": "8-bit RGB with alpha",
    **dict.fromkeys(_GREY16.modes, _GREY16.words),
}


def read(path: Path, part: str) -> NDArray[Any]:
    """A part's file as it is.

    Returns:
        `rgb` and `normals` (H, W, 3) uint8, `semseg` (H, W) uint8 native ids (a palette picture's indices), `depth` and
        `edge` (H, W) uint16 counts.

    Raises:
        DataError: missing, damaged, of the wrong kind or out of range; names the file and says what is wrong.
    """
    with _opened(path, part) as image:
        try:
            array = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path}: truncated or damaged ({error})") from error
    if _FORMATS[part] is _GREY16:
        return array.astype(np.uint16)
    if part == "semseg" and array.max(initial=0) > MAX_LABEL:
        raise DataError(f"{path}: label {array.max()} is out of range, expected 0..{MAX_LABEL}")
    return array


def size_of(path: Path, part: str) -> tuple[int, int]:
    """(H, W) of a part's file, from its header alone.

    Raises:
        DataError: missing, not an image, or of the wrong kind.
    """
    with _opened(path, part) as image:
        return image.height, image.width


def read_frame(frames: Frames, index: int, tasks: Sequence[str]) -> dict[str, NDArray[Any]]:
    """All parts of a frame.

    Raises:
        DataError: a file is damaged, or the parts differ in size.
    """
    arrays = {part: read(frames.path(index, part), part) for part in (IMAGE, *tasks)}
    for part, array in arrays.items():
        _same_size(frames.path(index, part), array.shape[:2], arrays[IMAGE].shape[:2])
    return arrays


class Problem(NamedTuple):
    """A file that cannot be used, and what to say of it (the path included)."""

    path: Path
    message: str


def problems(frames: Frames, index: int, tasks: Sequence[str], full: bool) -> list[Problem]:
    """What is wrong with a frame's files; `full` decodes them, else headers are read."""
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


def _opened(path: Path, part: str) -> Image.Image:
    try:
        image = Image.open(path, formats=["PNG"])
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except PermissionError as error:
        raise DataError(f"{path}: cannot be read; check its permissions") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: empty file (0 bytes)") from error
        raise DataError(f"{path}: not a PNG image, or its header is damaged") from error
    wanted = _FORMATS[part]
    if image.mode not in wanted.modes:
        image.close()
        raise DataError(f"{path}: {_MODE_WORDS.get(image.mode, image.mode)}, expected {wanted.words}")
    return image


def _same_size(path: Path, size: tuple[int, ...], image: tuple[int, ...]) -> None:
    if size != image:
        raise DataError(f"{path}: {size[1]}x{size[0]} pixels, but the frame's rgb has {image[1]}x{image[0]}")
