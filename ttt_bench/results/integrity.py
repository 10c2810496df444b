"""Detect files of a cell that differ from what was written."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.errors import DamagedError
from ttt_bench.results.records import REMEDY, is_file
from ttt_bench.util.hashing import hash_file
from ttt_bench.util.os_errors import explained_reading

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

EXAMPLES = "examples.npz"


def digests(folder: Path, names: list[str]) -> dict[str, str]:
    """Return name -> digest of files in a folder."""
    return {name: hash_file(folder / name) for name in names}


def damages(folder: Path, manifest: Mapping[str, Any], remedy: str = REMEDY) -> list[DamagedError]:
    """Return an error per file of a cell that is missing or differs from what was written.

    Cells of earlier versions have no digests. Of their files, the rows and the examples are read.

    Args:
        folder: the folder of a cell or a measurement.
        manifest: its manifest.
        remedy: what to do about a damaged file, for the end of the message.

    Raises:
        DataError: a file cannot be read.
    """
    if "files" in manifest:
        return list(_differing(folder, manifest["files"], remedy))
    return list(_unreadable(folder, manifest))


def read_parquet(path: Path, **options: Any) -> pd.DataFrame:
    """Return a Parquet file as a frame, with the checksums of its pages verified.

    Raises:
        DamagedError: the file is missing or damaged.
        DataError: it cannot be read.
    """
    import pandas as pd

    content = _content(path)
    with _explained_parsing(path):
        return pd.read_parquet(io.BytesIO(content), page_checksum_verification=True, **options)


def read_columns(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return columns of a Parquet file, with the checksums of their pages verified.

    It takes a tenth of the time of `read_parquet`. Columns that the file lacks are omitted. All
    columns are returned if None are named.

    Raises:
        DamagedError: the file is missing or damaged.
        DataError: it cannot be read.
    """
    from pyarrow import BufferReader
    from pyarrow.parquet import ParquetFile

    content = BufferReader(_content(path))
    with _explained_parsing(path):
        file = ParquetFile(content, page_checksum_verification=True)
        # a small file is read faster without threads
        return file.read(None if columns is None else list(columns), use_threads=False)


def read_arrays(path: Path) -> dict[str, Any]:
    """Return the arrays of a .npz file.

    Raises:
        DamagedError: the file is missing or damaged.
        DataError: it cannot be read.
    """
    import numpy as np

    content = _content(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as data:
            return {key: data[key] for key in data.files}
    except (
        *(OSError, EOFError, ValueError, LookupError, AttributeError, NotImplementedError),
        *(zipfile.BadZipFile, zlib.error, RuntimeError),
    ) as error:
        raise DamagedError(path, " ".join(str(error).split()), REMEDY) from error


def check_rows(folder: Path, rows: pa.Table, manifest: Mapping[str, Any]) -> None:
    """Raise an error if the rows of a cell are those of another one.

    Raises:
        DamagedError: the rows have another configuration than the manifest.
    """
    found = set(rows["config"].unique().to_pylist()) if "config" in rows.column_names else set()
    if "config" in manifest and found != {manifest["config"]}:
        names = ", ".join(sorted(map(str, found))) or "no cell"
        raise DamagedError(folder / "rows.parquet", f"its rows belong to {names}", REMEDY)


@contextmanager
def _explained_parsing(path: Path) -> Iterator[None]:
    """Raise an error of pandas or pyarrow as a DamagedError."""
    from pyarrow import ArrowException

    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, ArrowException) as error:
        raise DamagedError(path, " ".join(str(error).split()), REMEDY) from error


def _content(path: Path) -> bytes:
    if not is_file(path):
        raise DamagedError(path, "it is missing", REMEDY)
    with explained_reading(path):
        return path.read_bytes()


def _differing(folder: Path, files: Mapping[str, str], remedy: str) -> Iterator[DamagedError]:
    for name, digest in files.items():
        path = folder / name
        if not is_file(path):
            yield DamagedError(path, "it is missing", remedy)
            continue
        with explained_reading(path):
            found = hash_file(path)
        if found != digest:
            yield DamagedError(path, "its content differs from its digest", remedy)


def _unreadable(folder: Path, manifest: Mapping[str, Any]) -> Iterator[DamagedError]:
    try:
        if manifest["state"] == "done":
            rows = read_columns(folder / "rows.parquet", ["config"])
            check_rows(folder, rows, manifest)
    except DamagedError as error:
        yield error
    try:
        if is_file(folder / EXAMPLES):
            read_arrays(folder / EXAMPLES)
    except DamagedError as error:
        yield error
