"""Notes of a comparison of rows: one sentence per quantity on what may be claimed."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ttt_bench.analysis.verdicts import BETTER, OPEN, WORSE
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.formats.cells import rounded
from ttt_bench.report.frames import named_rows
from ttt_bench.results.method_names import PROPER_NAMES
from ttt_bench.tasks import TASKS

_SHOWN = {BETTER: "is shown to be better than", WORSE: "is shown to be worse than"}
_LISTED = {
    BETTER: "A is shown to be better in",
    WORSE: "A is shown to be worse in",
    OPEN: "no difference is shown in",
}


def claims(found: pd.DataFrame, units: str) -> dict[str, str]:
    """Return quantity -> sentence on what may be claimed.

    Args:
        found: differences (`compared.COLUMNS`) of one pair of comparisons.
        units: what a replicate draws, `images` or `batches`.
    """
    one_pair = not found.duplicated("quantity").any()
    return {
        str(quantity): claim(next(named_rows(rows)), units) if one_pair else _list(rows)
        for quantity, rows in found.groupby("quantity", sort=False)
    }


def decimals_of(quantity: str, level: float) -> int:
    """Return the digits after the point of a quantity's differences.

    Args:
        quantity: a task, or an average of changes in percent.
        level: a typical score.
    """
    if quantity not in TASKS or metrics_of(quantity).primary.unit:
        return 2
    return 3 if level >= 1 else 4


def claim(row: Any, units: str) -> str:
    """Return the sentence on one difference, a row of a frame with `compared.COLUMNS`.

    Example: 'S4T is not shown to differ from Norm: +0.26 points, 95 % interval −0.15 to 0.67, 3
    seeds, 16 batches'.
    """
    ours, theirs = _names(row)
    digits = decimals_of(row.quantity, row.mean_b)
    value = f"{'+' if row.mean > 0 else ''}{rounded(row.mean, digits)}{_unit(row.quantity)}"
    if math.isnan(row.low):
        return (
            f"{ours} minus {theirs} is {value} with one seed and without statistics of images: "
            "there is no interval, so no claim"
        )
    ends = f"{rounded(row.low, digits)} to {rounded(row.high, digits)}"
    drawn = f", {row.units} {units}" if row.units else " alone"
    seeds = f"{row.seeds} {'seed' if row.seeds == 1 else 'seeds'}"
    verb = _SHOWN.get(row.verdict, "is not shown to differ from")
    return f"{ours} {verb} {theirs}: {value}, 95 % interval {ends}, {seeds}{drawn}"


def _names(row: Any) -> tuple[str, str]:
    """Return the names of the two rows, with their sides if they are equal."""
    a, b = PROPER_NAMES.of(row.a), PROPER_NAMES.of(row.b)
    return (a, b) if a != b else (f"{a} in A", f"{b} in B")


def _list(rows: pd.DataFrame) -> str:
    """Return the sentence on the differences of several pairs of rows in one quantity."""
    parts = []
    for verdict, words in _LISTED.items():
        names = [pair_title(row) for row in named_rows(rows[rows["verdict"] == verdict])]
        if names:
            parts.append(f"{words} {', '.join(names)}")
    return "; ".join(parts)


def pair_name(row: Any) -> str:
    """Return the name of a pair of rows."""
    return str(row.a) if row.a == row.b else f"{row.a} against {row.b}"


def pair_title(row: Any) -> str:
    """Return the printed name of a pair of rows."""
    a, b = PROPER_NAMES.of(row.a), PROPER_NAMES.of(row.b)
    return a if a == b else f"{a} against {b}"


def _unit(quantity: str) -> str:
    """Return the unit of a difference, with a space."""
    if quantity not in TASKS:
        return " points"
    return {"percent": " points", "degrees": "°", "": ""}[metrics_of(quantity).primary.unit]
