"""The cells of a table in LaTeX, with the marks apart from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ttt_bench.report.formats.cells import printed_row
from ttt_bench.report.tables import DASH, Cell, Column, Number, Row


class Entry(NamedTuple):
    """A cell in print: a number or a text, the mark after it, and its spread."""

    text: str
    mark: str = ""
    spread: str = ""
    bold: bool = False
    is_number: bool = False


def entries(row: Row, columns: Sequence[Column]) -> list[Entry]:
    """Return the entry of each column of a row."""
    cells = [row.cells.get(column.key, DASH) for column in columns]
    return [
        _entry(cell, shown.text, shown.spread, bold=shown.bold)
        for cell, shown in zip(cells, printed_row(row, columns), strict=True)
    ]


def _entry(cell: Cell, text: str, spread: str, *, bold: bool) -> Entry:
    if not isinstance(cell, Number):
        return Entry(text, is_number=text == DASH)
    mark = cell.mark if text.endswith(cell.mark) else ""
    return Entry(text.removesuffix(mark), mark, spread, bold, is_number=True)
