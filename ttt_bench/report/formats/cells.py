"""Cells as they are printed: the rounding that all formats but CSV share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ttt_bench.report.tables import DASH, Cell, Column, Number, Row

ROUNDING = 1e-9
"""Largest standard deviation, relative to the mean, that counts as rounding error."""


class Printed(NamedTuple):
    """A cell in print: mean or text, standard deviation (may be empty), and boldness."""

    text: str
    sd: str = ""
    bold: bool = False


def printed_row(row: Row, columns: Sequence[Column]) -> list[Printed]:
    """Return the printed cell of each column; all are blank for a row without numbers."""
    if row.state:
        return [Printed("")] * len(columns)
    return [printed(row.cells.get(column.key, DASH), column.decimals) for column in columns]


def printed(cell: Cell, decimals: int) -> Printed:
    """Return a cell in print; a number has `decimals` digits after the point by default."""
    if not isinstance(cell, Number):
        return Printed(cell)
    if not math.isfinite(cell.mean):
        return Printed(DASH, bold=cell.bold)
    if cell.decimals is not None:
        decimals = cell.decimals
    return Printed(_mean(cell, decimals) + cell.mark, _sd(cell, decimals), cell.bold)


def _mean(number: Number, decimals: int) -> str:
    """Return the rounded mean, with a minus sign (not a hyphen) if it is negative."""
    text = f"{number.mean:.{decimals}f}"
    # -0.00 is a rounded value: print it without a sign
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def _sd(number: Number, decimals: int) -> str:
    """Return the standard deviation in print, or "" if the number has none."""
    if number.printed_sd:
        return number.printed_sd
    sd = number.finite_sd
    if sd is None:
        return ""
    text = f"{sd:.{decimals}f}"
    # print a small spread with an exponent instead of as zero, unless it is rounding error
    if float(text) == 0 and sd > ROUNDING * abs(number.mean):
        return f"{sd:.0e}"
    return text
