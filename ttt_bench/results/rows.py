"""Read the stored rows of many cells."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ttt_bench.errors import DamagedError
from ttt_bench.results.integrity import check_rows, read_columns
from ttt_bench.results.records import REMEDY
from ttt_bench.results.schema import ROW_COLUMNS

NAME = "rows.parquet"
ALL = tuple(ROW_COLUMNS)
NUMBERS = {
    "value": pa.float64(),
    **dict.fromkeys(["seed", "steps", "step", "n", "schema_version"], pa.int64()),
}
"""The columns of numbers and their types; all others are text."""


def read_rows(
    folder: Path, manifest: Mapping[str, Any], columns: tuple[str, ...] = ALL
) -> pa.Table:
    """Return columns of `schema.ROW_COLUMNS` of the rows of a done cell, `config` among them.

    Raises:
        DamagedError: the file is missing or damaged, or has the rows of another cell.
        DataError: the file cannot be read.
    """
    rows = read_columns(folder / NAME, columns)
    if "class" in columns and "class" not in rows.column_names:
        # schema version 1 has metrics of all classes only
        rows = rows.append_column("class", pa.repeat("", rows.num_rows))
    missing = [name for name in columns if name not in rows.column_names]
    if missing:
        raise DamagedError(folder / NAME, f"no column {', '.join(missing)}", REMEDY)
    check_rows(folder, rows, manifest)
    try:
        return rows.select(list(columns)).cast(_schema(columns))
    except pa.ArrowException as error:
        raise DamagedError(folder / NAME, " ".join(str(error).split()), REMEDY) from error


def empty_rows(columns: tuple[str, ...]) -> pa.Table:
    """Return columns without rows."""
    return _schema(columns).empty_table()


def plain_frame(rows: pa.Table) -> pd.DataFrame:
    """Return rows as a frame."""
    found: pd.DataFrame = rows.cast(_schema(tuple(rows.column_names))).to_pandas()
    return found


def categories_frame(rows: pa.Table) -> pd.DataFrame:
    """Return rows as a frame with text as categories, in order of their first rows.

    A category takes one or two bytes per row.
    """
    plain = rows.cast(_schema(tuple(rows.column_names)))
    encoded = {
        name: column if name in NUMBERS else column.dictionary_encode()
        for name, column in zip(plain.column_names, plain, strict=True)
    }
    found: pd.DataFrame = pa.table(encoded).to_pandas()
    return found


@cache
def _schema(columns: tuple[str, ...]) -> pa.Schema:
    """Return the types of columns; versions of pandas store text in different ones."""
    return pa.schema([(name, NUMBERS.get(name, pa.large_string())) for name in columns])
