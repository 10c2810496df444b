"""Read files to arrays with checks, and fingerprint sets of files. Imports no torch."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttt_bench.errors import DataError, printable
from ttt_bench.util.os_errors import cause, explained_reading, file_bytes, unreadable
from ttt_bench.util.progress import Progress

Size = tuple[int, int]
"""(H, W) in pixels."""

_HASHED = 16  # frames whose contents are part of a fingerprint


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """The required kind of an image file.

    Attributes:
        words: the kind, in words.
        modes: Pillow's modes of the kind.
        containers: file formats.
        as_stored: whether pictures that carry an EXIF orientation are read as their pixels are
            stored. Otherwise they are refused, because their labels may fit the turned picture.
    """

    words: str
    modes: tuple[str, ...]
    containers: tuple[str, ...] = ("PNG",)
    as_stored: bool = False


RGB = ImageFormat(words="8-bit RGB", modes=("RGB",))
PHOTO = ImageFormat(words="8-bit RGB", modes=("RGB",), containers=("PNG", "JPEG"))
PHOTO_AS_STORED = replace(PHOTO, as_stored=True)
LABELS = ImageFormat(words="8-bit with one channel (grey or palette)", modes=("L", "P"))
GREY = ImageFormat(words="8-bit grey", modes=("L",))
# the mode of 16-bit files depends on the version of Pillow
GREY16 = ImageFormat(words="16-bit grey", modes=("I;16", "I;16B", "I"))

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
_TO_RGB = frozenset({"1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr"})
"""Modes that Pillow converts to RGB without a choice of scale."""

_ORIENTATION = 0x0112
_ORIENTATION_KEYS = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})
"""Pillow's names of the entries that may contain an orientation."""


class Problem(NamedTuple):
    """A file that cannot be used, with a message that contains the path."""

    path: Path
    message: str


def read_image(path: Path, wanted: ImageFormat) -> NDArray[Any]:
    """Return an image unchanged, (H, W) or (H, W, 3); for a palette image, the indices.

    Raises:
        DataError: the file is missing, damaged or of the wrong kind, or carries an EXIF orientation
            that `wanted` does not allow.
    """
    with open_image(path, wanted) as image:
        try:
            array = np.asarray(image)
        except Exception as error:  # Pillow and zlib raise various errors for damaged files
            raise _damaged(path, error, "truncated or damaged") from error
        _require_upright(image, path, wanted)  # the entry may come after the pixels
        return array


class ImageHeader(NamedTuple):
    """The size (H, W) of an image file, and its EXIF orientation, 1 if it has none."""

    size: Size
    orientation: int


def image_header(path: Path, wanted: ImageFormat) -> ImageHeader:
    """Return the size and the orientation of an image file, from its header.

    Raises:
        DataError: as `open_image`.
    """
    with open_image(path, wanted) as image:
        return ImageHeader((image.height, image.width), _orientation(image))


def image_file_size(path: Path, wanted: ImageFormat) -> Size:
    """Return (H, W) of an image file, from its header.

    Raises:
        DataError: as `open_image`.
    """
    return image_header(path, wanted).size


def open_image(path: Path, wanted: ImageFormat) -> Image.Image:
    """Return an open image whose header has been read; the caller closes it.

    Raises:
        DataError: the file is missing, not an image, or of the wrong kind, or carries an EXIF
            orientation that `wanted` does not allow.
    """
    if file_bytes(path) == 0:
        raise DataError(f"{path}: empty file (0 bytes)")
    try:
        image = Image.open(path, formats=wanted.containers)
    except Exception as error:  # Pillow raises various errors for damaged files
        kind = " or ".join(wanted.containers)
        huge = isinstance(error, Image.DecompressionBombError)
        what = "of an impossible size" if huge else f"not a {kind} image, or its header is damaged"
        raise _damaged(path, error, what) from error
    try:
        _require_mode(image, path, wanted)
        _require_upright(image, path, wanted)
    except DataError:
        image.close()
        raise
    return image


def _require_mode(image: Image.Image, path: Path, wanted: ImageFormat) -> None:
    if image.mode in wanted.modes:
        return
    found = f"{path}: {_MODE_WORDS.get(image.mode, image.mode)}, expected {wanted.words}"
    if "RGB" in wanted.modes and image.mode in _TO_RGB:
        found += f"; convert it: {_command('Image.open(p).convert(`RGB`)', path)}"
    raise DataError(found)


def _require_upright(image: Image.Image, path: Path, wanted: ImageFormat) -> None:
    orientation = 1 if wanted.as_stored else _orientation(image)
    if orientation != 1:
        raise DataError(
            f"{path}: the picture carries the EXIF orientation {orientation}, so viewers show it "
            "turned or mirrored, but its pixels are read as stored. If its labels fit what viewers "
            f"show, turn it: {_command('ImageOps.exif_transpose(Image.open(p))', path)}. If they "
            f"fit the stored pixels, remove the entry: {_command('Image.open(p)', path)}"
        )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an open image, 1 to 8; 1 if it has no valid one."""
    found: Any = 1
    if _ORIENTATION_KEYS & image.info.keys():
        with suppress(Exception):  # entries may be damaged in many ways
            found = image.getexif().get(_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def _command(expression: str, path: Path) -> str:
    """Return a command line that replaces an image `p` by a Pillow expression on it."""
    made = expression.replace("`", "'")
    saved = f"{made}.save(p, quality=95, exif=b'')"
    code = f"import sys; from PIL import Image, ImageOps; p = sys.argv[1]; {saved}"
    return f'python -c "{code}" {shlex.quote(str(path))}'


def read_npy(path: Path) -> NDArray[Any]:
    """Return the array of a .npy file; arrays of Python objects are refused.

    Raises:
        DataError: the file is missing, damaged, or not a .npy file.
    """
    content = read_bytes(path)
    try:
        array = np.load(BytesIO(content), allow_pickle=False)
    except Exception as error:  # the header is parsed as Python, which raises various errors
        what = "not an array in NumPy's format, or truncated"
        raise _damaged(path, error, what) from error
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"{path}: an archive of arrays, expected a single array in NumPy's .npy format"
        )
    return array


def read_bytes(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        DataError: the file is missing, unreadable, empty or not regular.
    """
    if file_bytes(path) == 0:
        raise DataError(f"{path}: empty file (0 bytes)")
    with explained_reading(path):
        return path.read_bytes()


def read_text(path: Path) -> str:
    """Return the content of a UTF-8 text file, without a byte order mark.

    Raises:
        DataError: the file is missing, unreadable, not regular, or not in UTF-8.
    """
    file_bytes(path)
    with explained_reading(path, errors=(UnicodeDecodeError,)):
        return path.read_text(encoding="utf-8-sig")


def _damaged(path: Path, error: Exception, what: str) -> DataError:
    """Return the error for content that a library refuses; errors of the system pass as such."""
    if isinstance(error, OSError) and error.errno is not None:
        return unreadable(path, error)
    return DataError(f"{path}: {what} ({cause(error, path)})")


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
        DataError: a file is missing, cannot be read, or is not a regular file.
    """
    digest = hashlib.sha256()
    with progress.bar(title, len(frames)) as bar:
        for index in range(len(frames)):
            sizes = " ".join(f"{part} {file_bytes(frames.path(index, part))}" for part in parts)
            digest.update(f"{printable(frames.name(index))} {sizes}\n".encode())
            bar.advance()
    for index in hashed_frames(len(frames)):
        for part in parts:
            path = frames.path(index, part)
            with explained_reading(path):
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def hashed_frames(count: int) -> list[int]:
    """Return the frames, of this many, whose contents `fingerprint` covers."""
    return spread(count, _HASHED)


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` indices of `range(count)`, evenly spread and deterministic."""
    return list(range(count)) if count <= most else [index * count // most for index in range(most)]
