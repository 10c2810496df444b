"""Read files to arrays with checks, and fingerprint sets of files. Imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress

Size = tuple[int, int]
"""(H, W) in pixels."""

_HASHED = 16  # frames whose contents are part of a fingerprint


@dataclass(frozen=True)
class ImageFormat:
    """The required kind of an image file.

    Attributes:
        words: the kind, in words.
        modes: Pillow's modes of the kind.
        containers: file formats.
    """

    words: str
    modes: tuple[str, ...]
    containers: tuple[str, ...] = ("PNG",)


RGB = ImageFormat("8-bit RGB", ("RGB",))
PHOTO = ImageFormat("8-bit RGB", ("RGB",), ("PNG", "JPEG"))
LABELS = ImageFormat("8-bit with one channel (grey or palette)", ("L", "P"))
GREY = ImageFormat("8-bit grey", ("L",))
# the mode of 16-bit files depends on the version of Pillow
GREY16 = ImageFormat("16-bit grey", ("I;16", "I;16B", "I"))

_MODE_WORDS = {
    "1": "1-bit",
    "L": "8-bit grey",
    "LA": "8-bit grey with alpha",
    "P": "8-bit palette",
    "RGB": "8-bit RGB",
    "RGBA": "8-bit RGB with alpha",
    "CMYK": "8-bit CMYK",
    **dict.fromkeys(GREY16.modes, GREY16.words),
}


class Problem(NamedTuple):
    """A file that cannot be used, with a message that contains the path."""

    path: Path
    message: str


def read_image(path: Path, wanted: ImageFormat) -> NDArray[Any]:
    """Return an image unchanged, (H, W) or (H, W, 3); for a palette image, the indices.

    Raises:
        DataError: the file is missing, damaged or of the wrong kind.
    """
    with open_image(path, wanted) as image:
        try:
            return np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path}: truncated or damaged ({error})") from error


def image_file_size(path: Path, wanted: ImageFormat) -> Size:
    """Return (H, W) of an image file, from its header.

    Raises:
        DataError: the file is missing, not an image, or of the wrong kind.
    """
    with open_image(path, wanted) as image:
        return image.height, image.width


def open_image(path: Path, wanted: ImageFormat) -> Image.Image:
    """Return an open image whose header has been read; the caller closes it.

    Raises:
        DataError: the file is missing, not an image, or of the wrong kind.
    """
    try:
        image = Image.open(path, formats=wanted.containers)
    except (FileNotFoundError, PermissionError) as error:
        raise _unreadable(path, error) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        if path.stat().st_size == 0:
            raise DataError(f"{path}: empty file (0 bytes)") from error
        raise DataError(
            f"{path}: not a {' or '.join(wanted.containers)} image, or its header is damaged"
        ) from error
    if image.mode not in wanted.modes:
        image.close()
        raise DataError(
            f"{path}: {_MODE_WORDS.get(image.mode, image.mode)}, expected {wanted.words}"
        )
    return image


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file; arrays of Python objects are refused.

    Raises:
        DataError: the file is missing, damaged, or not a .npy file.
    """
    content = read_bytes(path)
    try:
        array = np.load(BytesIO(content), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path}: not an array in NumPy's format, or truncated ({error})"
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"{path}: an archive of arrays, expected a single array in NumPy's .npy format"
        )
    return array


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: the file is missing, unreadable or empty.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not content:
        raise DataError(f"{path}: empty file (0 bytes)")
    return content


class Indexed(Protocol):
    """An ordered set of frames, each with one file per part."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...

    def path(self, index: int, part: str) -> Path: ...


def fingerprint(frames: Indexed, parts: Sequence[str], title: str, progress: Progress) -> str:
    """Return a hex digest of the frames' names, their files' sizes, and some contents.

    The contents are those of a few frames, evenly spread. The digest does not depend on the folder.
    A change that keeps the size of a file is noticed only in the frames whose contents count.

    Args:
        title: title of the progress bar.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    digest = hashlib.sha256()
    with progress.bar(title, len(frames)) as bar:
        for index in range(len(frames)):
            sizes = " ".join(f"{part} {_bytes_in(frames.path(index, part))}" for part in parts)
            digest.update(f"{frames.name(index)} {sizes}\n".encode())
            bar.advance()
    for index in spread(len(frames), _HASHED):
        for part in parts:
            digest.update(hashlib.sha256(frames.path(index, part).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _bytes_in(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise _unreadable(path, error) from error


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` indices of `range(count)`, evenly spread and deterministic."""
    return list(range(count)) if count <= most else [index * count // most for index in range(most)]


def _unreadable(path: Path, error: OSError) -> DataError:
    missing = isinstance(error, FileNotFoundError)
    return DataError(
        f"{path}: " + ("no such file" if missing else "cannot be read; check its permissions")
    )
