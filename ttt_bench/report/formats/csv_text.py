"""Tables as CSV: one number per cell, in full precision."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from ttt_bench.report.tables import DASH, Cell, Column, Number, Row, Table


def to_csv(table: Table) -> str:
    """Return a table as CSV.

    Each column is written as `<key>`, followed by `<key>_sd` if any row has a standard deviation.
    The last column, `contract`, is written if any row has a mark.
    """
    with_sd = {column.key for column in table.columns if table.has_sd(column)}
    marked = any(row.contract for row in table.rows())
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    last = ["state", "reason", *(["contract"] if marked else [])]
    writer.writerow(["selection", table.corner, *_heads(table, with_sd), *last])
    for section in table.sections:
        for row in section.rows:
            values = _values(row, table.columns, with_sd)
            last = [row.state, row.reason, *([row.contract] if marked else [])]
            writer.writerow([section.key, row.label, *values, *last])
    return buffer.getvalue()


def _heads(table: Table, with_sd: set[str]) -> list[str]:
    heads = []
    for column in table.columns:
        heads.append(column.key)
        if column.key in with_sd:
            heads.append(f"{column.key}_sd")
    return heads


def _values(row: Row, columns: Sequence[Column], with_sd: set[str]) -> list[str]:
    values = []
    for column in columns:
        values.append(_value(row.cells.get(column.key, DASH)))
        if column.key in with_sd:
            values.append(_number(row.sd(column)))
    return values


def _value(cell: Cell) -> str:
    if isinstance(cell, Number):
        return _number(cell.mean)
    return "" if cell == DASH else cell


def _number(value: float | None) -> str:
    """Return a number in full precision, or "" if it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return ""
    return repr(float(value))
