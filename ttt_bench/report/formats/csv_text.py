"""Tables as CSV: one number per cell, in full precision."""

from __future__ import annotations

import csv
import io
import math

from ttt_bench.report.tables import DASH, Cell, Column, Number, Row, Table


def to_csv(table: Table) -> str:
    """Return a table as CSV.

    Each column is written as `<key>`, followed by `<key>_sd` if any row has a standard deviation,
    and by `<key>_low` and `<key>_high` if any row has an interval. The last column, `contract`, is
    written if any row has a mark.
    """
    marked = any(row.contract for row in table.rows())
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    last = ["state", "reason", *(["contract"] if marked else [])]
    heads = [f"{column.key}{end}" for column in table.columns for end in _ends(table, column)]
    writer.writerow(["selection", table.corner, *heads, *last])
    for section in table.sections:
        for row in section.rows:
            last = [row.state, row.reason, *([row.contract] if marked else [])]
            writer.writerow([section.key, row.label, *_values(table, row), *last])
    return buffer.getvalue()


def exact(row: Row, column: Column) -> dict[str, str]:
    """Map what follows a column's key in the heads of CSV to the row's value, in full precision.

    The ends are "", "_sd", "_low" and "_high". A value that is missing or not finite is empty.
    """
    low, high = row.interval(column) or (None, None)
    return {
        "": _value(row.cells.get(column.key, DASH)),
        "_sd": _number(row.sd(column)),
        "_low": _number(low),
        "_high": _number(high),
    }


def _ends(table: Table, column: Column) -> list[str]:
    """Return what follows the key in the heads of a column's values."""
    sd = ["_sd"] if table.has_sd(column) else []
    return ["", *sd, *(["_low", "_high"] if table.has_interval(column) else [])]


def _values(table: Table, row: Row) -> list[str]:
    values = []
    for column in table.columns:
        texts = exact(row, column)
        values += [texts[end] for end in _ends(table, column)]
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
