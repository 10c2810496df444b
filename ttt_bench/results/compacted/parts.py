"""Parts of the compacted copy: tables of many cells, and the files that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from ttt_bench.results.compacted.scan import COMPACTED
from ttt_bench.results.rows import ALL, NUMBERS
from ttt_bench.util.atomic import atomic_file

ROWS_FILE = b"rows"
"""The entry of the metadata of a file of cells that has the hash of the file of rows."""

TEXT = pa.dictionary(pa.int32(), pa.string())
"""The type of repeated text, which files give back whatever was written."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some cells with their rows.

    Attributes:
        cells: one line per cell: `name`, `stamp`, `state`, `finished`, `timed`, `rows` (their
            number), and the columns of `manifests.columns_of`.
        rows: columns of the rows of the cells, in their order. None if they were not read.
        files: the files that hold the part; empty if it is not stored.
    """

    cells: pa.Table
    rows: pa.Table | None
    files: tuple[Path, ...] = ()

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of rows of each cell."""
        return np.asarray(self.cells["rows"].to_numpy())

    def column(self, name: str) -> list[Any]:
        """Return a column of the cells."""
        found: list[Any] = self.cells[name].to_pylist()
        return found

    def kept(self, mask: Mask) -> Part:
        """Return the part with some of its cells only."""
        if mask.all():
            return self
        rows = self.rows
        if rows is not None:
            rows = rows.filter(pa.array(np.repeat(mask, self.counts)))
        return Part(cells=self.cells.filter(pa.array(mask)), rows=rows, files=self.files)


def encoded(rows: pa.Table) -> pa.Table:
    """Return a table with text as dictionaries, which take four bytes per row."""
    columns = {
        name: column if name in NUMBERS else column.cast(pa.string()).dictionary_encode()
        for name, column in zip(rows.column_names, rows, strict=True)
    }
    return pa.table(columns).combine_chunks()


def joined(parts: Sequence[Part], order: NDArray[np.int64]) -> Part:
    """Return several parts as one.

    Args:
        parts: at least one part, all with the same columns of rows, or without rows.
        order: the position of each line of the result among the cells of all parts.
    """
    cells = pa.concat_tables([part.cells for part in parts], promote_options="default")
    tables = [part.rows for part in parts if part.rows is not None]
    rows = pa.concat_tables(tables).unify_dictionaries() if tables else None
    if (np.diff(order) > 0).all() and len(order) == len(cells):
        return Part(cells=cells, rows=rows)
    if rows is not None:
        counts = np.asarray(cells["rows"].to_numpy())
        rows = rows.combine_chunks().take(pa.array(_rows_in_order(counts, order)))
    return Part(cells=cells.unify_dictionaries().combine_chunks().take(pa.array(order)), rows=rows)


def _rows_in_order(counts: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of the rows of cells in another order."""
    starts = (np.cumsum(counts) - counts)[order]
    lengths = counts[order]
    before = np.cumsum(lengths) - lengths
    found: NDArray[np.int64] = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    return found


def stored_parts(root: Path, columns: Sequence[str] | None) -> Iterator[Part]:
    """Yield the stored parts of a results folder that are whole; others are removed.

    Args:
        root: the results folder.
        columns: columns of the rows; None: neither rows nor manifests are read.
    """
    try:
        paths = sorted((root / COMPACTED).glob("cells-*.parquet"))
    except OSError:
        return
    for path in paths:
        found = stored_part(path, columns)
        if found is None:
            remove([path])
        else:
            yield found


def stored_part(path: Path, columns: Sequence[str] | None) -> Part | None:
    """Return the part of a file of cells; None if one of its files is missing or damaged.

    Args:
        path: the file.
        columns: columns of the rows; None: neither rows nor manifests are read.
    """
    try:
        file = _opened(path)
        rows_path = path.with_name(file.schema_arrow.metadata[ROWS_FILE].decode())
        if columns is None:
            cells = file.read(["name", "stamp", "state", "rows"])
            return Part(cells=cells, rows=None, files=(path, rows_path))
        cells, rows = file.read(), _opened(rows_path).read(list(columns))
        usable = _has_types(cells) and _has_types(rows)
        return Part(cells=cells, rows=rows, files=(path, rows_path)) if usable else None
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        return None


def unreferenced(folder: Path) -> list[Path]:
    """Return the files of rows in a folder of a compacted copy that no file of cells names.

    Those of a part that is being written are among them: its file of cells follows.
    """
    named: set[str] = set()
    for path in folder.glob("cells-*.parquet"):
        with suppress(OSError, LookupError, TypeError, pa.ArrowException):
            named.add(parquet.read_schema(path).metadata[ROWS_FILE].decode())
    return sorted(path for path in folder.glob("rows-*.parquet") if path.name not in named)


def remove(paths: Sequence[Path]) -> None:
    """Remove files of parts, as far as that is allowed."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def write_part(root: Path, part: Part) -> tuple[Path, ...]:
    """Store a part, and return its files.

    Raises:
        BenchError: the folder cannot be written.
    """
    assert part.rows is not None
    rows = _write(root, "rows", part.rows.select(list(ALL)))
    named = part.cells.replace_schema_metadata({ROWS_FILE: rows.name})
    return _write(root, "cells", named), rows


def _write(root: Path, kind: str, table: pa.Table) -> Path:
    buffer = pa.BufferOutputStream()
    texts = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    parquet.write_table(
        table, buffer, compression="zstd", use_dictionary=texts, write_page_checksum=True
    )
    content = buffer.getvalue()
    path = root / COMPACTED / f"{kind}-{_digest(content)}.parquet"
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
    return path


def _opened(path: Path) -> parquet.ParquetFile:
    """Return a file whose content has the hash of its name."""
    content = pa.py_buffer(path.read_bytes())
    if path.stem.rpartition("-")[2] != _digest(content):
        raise ValueError(f"{path} is damaged")
    return parquet.ParquetFile(pa.BufferReader(content))


def _has_types(table: pa.Table) -> bool:
    """Return whether all columns have the types that `encoded` gives them."""
    return all(kind in (TEXT, pa.string(), pa.int64(), pa.float64()) for kind in table.schema.types)


def _digest(content: pa.Buffer) -> str:
    return sha256(content).hexdigest()[:24]
