"""Cells as they are printed: the rounding that all formats but CSV share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ttt_bench.report.tables import DASH, Cell, Column, Number, Row

ROUNDING = 1e-9
"""Largest standard deviation, relative to the mean, that counts as rounding error."""


class Printed(NamedTuple):
    """A cell in print.

    Attributes:
        text: the mean, or a text in its place.
        spread: the standard deviation after "±", or the interval in brackets; may be empty.
        mark: the sign at the end of `text` that a note explains; may be empty.
    """

    text: str
    spread: str = ""
    bold: bool = False
    mark: str = ""


def printed_row(row: Row, columns: Sequence[Column]) -> list[Printed]:
    """Return the printed cell of each column; all are blank for a row without numbers."""
    if row.state:
        return [Printed("")] * len(columns)
    return [printed(row.cells.get(column.key, DASH), column) for column in columns]


def printed(cell: Cell, column: Column) -> Printed:
    """Return a cell in print; a number has the column's digits after the point by default."""
    if not isinstance(cell, Number):
        return Printed(cell)
    if not math.isfinite(cell.mean):
        return Printed(DASH, bold=cell.bold)
    decimals = column.decimals if cell.decimals is None else cell.decimals
    spread = (_interval(cell, decimals) if column.intervals else "") or _sd(cell, decimals)
    return Printed(rounded(cell.mean, decimals) + cell.mark, spread, cell.bold, cell.mark)


def rounded(value: float, decimals: int) -> str:
    """Return a rounded number, with a minus sign (not a hyphen) if it is negative."""
    text = f"{value:.{decimals}f}"
    # -0.00 is a rounded value: print it without a sign
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def _interval(number: Number, decimals: int) -> str:
    """Return the rounded interval, or "" if the number has none."""
    if number.interval is None:
        return ""
    return f"[{', '.join(rounded(end, decimals) for end in number.interval)}]"


def _sd(number: Number, decimals: int) -> str:
    """Return the standard deviation in print, or "" if the number has none."""
    if number.printed_sd:
        return f"±{number.printed_sd}"
    sd = number.finite_sd
    if sd is None:
        return ""
    text = f"{sd:.{decimals}f}"
    # print a small spread with an exponent instead of as zero, unless it is rounding error
    if float(text) == 0 and sd > ROUNDING * abs(number.mean):
        return f"±{sd:.0e}"
    return f"±{text}"
