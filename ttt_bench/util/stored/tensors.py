"""Digests of files of tensors (safetensors), verified without PyTorch and in little memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ttt_bench.errors import DamagedError
from ttt_bench.util.os_errors import explained_reading, file_bytes

DIGEST = "digest"
"""The entry of the description that holds the digest."""
ABOUT = "about"
"""The entry of the file's metadata that holds the description, in JSON."""
REMEDY = "the next run sets it aside and computes it again"

TYPES = {
    "F64": ("torch.float64", 8),
    "F32": ("torch.float32", 4),
    "F16": ("torch.float16", 2),
    "BF16": ("torch.bfloat16", 2),
    "I64": ("torch.int64", 8),
    "I32": ("torch.int32", 4),
    "I16": ("torch.int16", 2),
    "I8": ("torch.int8", 1),
    "U8": ("torch.uint8", 1),
    "BOOL": ("torch.bool", 1),
}
"""Type in a file -> its name in PyTorch, and its bytes."""
_LARGEST_HEADER = 100_000_000  # the limit of safetensors
_CHUNK = 1 << 20


class Content(NamedTuple):
    """One tensor of a file.

    Attributes:
        name: its name.
        dtype: the name of its type in PyTorch.
        shape: its shape.
        parts: its bytes, in one part or several.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: Iterable[bytes | memoryview]


def digest(about: Mapping[str, Any], tensors: Iterable[Content]) -> str:
    """Return the digest of a description and of tensors in the order of their names."""
    found = sha256(json.dumps(about, sort_keys=True).encode())
    for tensor in tensors:
        found.update(f"{tensor.name} {tensor.dtype} {tensor.shape}".encode())
        for part in tensor.parts:
            found.update(part)
    return found.hexdigest()[:16]


def verify(path: Path) -> dict[str, Any]:
    """Check a file of tensors against its digest, and return its description without the digest.

    Raises:
        DamagedError: the file has no digest, or its content differs from it.
        DataError: the file does not exist or cannot be read.
    """
    size = file_bytes(path)
    with explained_reading(path), path.open("rb") as file:
        try:
            header, start = _header(file, size)
            about = description_in(header)
            written = about.pop(DIGEST, None)
            found = digest(about, _contents(file, header, start))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedError(path, " ".join(str(error).split()), REMEDY) from error
    check(path, written, found)
    return about


def written_digest(path: Path) -> str:
    """Return the digest that a file of tensors states, without a comparison.

    Raises:
        DamagedError: it has none.
        DataError: it does not exist or cannot be read.
    """
    size = file_bytes(path)
    with explained_reading(path), path.open("rb") as file:
        try:
            return str(description_in(_header(file, size)[0])[DIGEST])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedError(path, " ".join(str(error).split()), REMEDY) from error


def check(path: Path, written: Any, found: str) -> None:
    """Compare the digest in a file with that of its content.

    Raises:
        DamagedError: they differ, or the file has none.
    """
    if written is None:
        raise DamagedError(path, "it has no digest", REMEDY)
    if written != found:
        raise DamagedError(path, "its content differs from its digest", REMEDY)


def description_in(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description in the metadata of a file, with its digest.

    Raises:
        ValueError: it is not a JSON object.
    """
    about = json.loads((header.get("__metadata__") or {}).get(ABOUT, "{}"))
    if not isinstance(about, dict):
        raise ValueError("its description is not a JSON object")
    return about


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """Return the header of an open file, and the place where the tensors start."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(_LARGEST_HEADER, size - 8):
        raise ValueError("its header is cut short")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    places = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    if size != 8 + length + max([end for _, end in places], default=0):
        raise ValueError("it does not end with its last tensor")
    return header, 8 + length


def _contents(file: BinaryIO, header: Mapping[str, Any], start: int) -> Iterator[Content]:
    for name in sorted(header.keys() - {"__metadata__"}):
        entry = header[name]
        begin, end = entry["data_offsets"]
        dtype, item = TYPES[entry["dtype"]]
        shape = tuple(entry["shape"])
        if end - begin != item * math.prod(shape):
            raise ValueError(f"{name} does not have the bytes of its shape")
        yield Content(name, dtype, shape, _parts(file, start + begin, end - begin))


def _parts(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    file.seek(start)
    while size > 0:
        part = file.read(min(size, _CHUNK))
        if not part:
            raise ValueError("it is cut short")
        size -= len(part)
        yield part
