"""JSON files with a digest of their content in the entry `digest`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ttt_bench.errors import DamagedError
from ttt_bench.util.atomic import atomic_file
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.os_errors import explained_reading, file_bytes
from ttt_bench.util.store import mirror

DIGEST = "digest"
"""The entry that holds the digest of all others."""

Record = Mapping[str, Any]


def sealed(record: Record) -> dict[str, Any]:
    """Return a record with its digest, as `read` verifies it."""
    plain = json.loads(json.dumps(dict(record)))  # as it is read
    return {**plain, DIGEST: digest_of(plain)}


def digest_of(record: Record) -> str:
    """Return the digest of the entries of a record other than `digest`."""
    return hash_of({key: value for key, value in record.items() if key != DIGEST}, 16)


def put(path: Path, record: Record) -> None:
    """Write a record with its digest as JSON; equal records give equal bytes.

    It serves for a file of a folder that appears as a whole. `write` replaces a single file.
    """
    path.write_bytes(content(record))


def content(record: Record) -> bytes:
    """Return what `put` writes."""
    return (json.dumps(sealed(record), indent=1, sort_keys=True) + "\n").encode()


def write(path: Path, record: Record, hint: str = "") -> None:
    """Write a record with its digest atomically.

    Args:
        path: the file.
        record: JSON-like values by name.
        hint: as for `ttt_bench.util.os_errors.explained`.

    Raises:
        BenchError: the file cannot be written; the previous one stays.
    """
    with atomic_file(path, hint) as temporary:
        put(temporary, record)
    mirror.publish(path)


def read(
    path: Path,
    model: type[BaseModel],
    remedy: str,
    must_have_digest: Callable[[Record], bool] = lambda record: True,
) -> dict[str, Any]:
    """Return the record in a file without its digest.

    Args:
        path: the file.
        model: checks the types of the record's fields.
        remedy: what to do about a damaged file, for the end of the message.
        must_have_digest: whether a record without a digest is damaged. Earlier versions wrote some
            files without one.

    Raises:
        DamagedError: the file is not JSON, a field is missing or of another type, or the content
            differs from its digest.
        DataError: the file does not exist or cannot be read.
    """
    file_bytes(path)  # to open a pipe could block
    with explained_reading(path):
        found = path.read_bytes()
    try:
        record, digest = _parsed(found)
        model.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise DamagedError(path, f"{field}: {first['msg']}", remedy) from error
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, str(error) or "nested too deeply", remedy) from error
    if digest is None and must_have_digest(record):
        raise DamagedError(path, "it has no digest", remedy)
    if digest is not None and digest != digest_of(record):
        raise DamagedError(path, "its content differs from its digest", remedy)
    return record


def check_toml(path: Path, remedy: str) -> None:
    """Check a TOML file against the digest in its entry `digest`.

    Raises:
        DamagedError: it is not TOML, or its content differs from its digest.
        DataError: it does not exist or cannot be read.
    """
    with explained_reading(path):
        found = path.read_bytes()
    try:
        table = tomllib.loads(found.decode())
    except (ValueError, RecursionError) as error:
        raise DamagedError(path, str(error) or "nested too deeply", remedy) from error
    if table.get(DIGEST) != digest_of(table):
        raise DamagedError(path, "its content differs from its digest", remedy)


def _parsed(found: bytes) -> tuple[dict[str, Any], Any]:
    """Return the record without its digest, and the digest, or None without one.

    Raises:
        ValueError: the content is not a JSON object.
    """
    record = json.loads(found)
    if not isinstance(record, dict):
        raise ValueError("the file: it is not a JSON object")
    return record, record.pop(DIGEST, None)
