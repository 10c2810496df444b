"""Limits on how much worse A may be than B, for checks that run by themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from ttt_bench.analysis.comparing.compared import Compared
from ttt_bench.errors import BenchError, unknown
from ttt_bench.metrics.base import metrics_of
from ttt_bench.results.method_names import PROPER_NAMES
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.tasks import TASKS

NAMES = (*TASKS, "delta")
"""What may have a limit: the primary metric of a task, or Delta_TTT."""


class Limit(NamedTuple):
    """The largest loss of a task, in the unit of its metric, or of `delta` in points."""

    name: str
    margin: float

    @property
    def quantity(self) -> str:
        """Return the quantity in frames."""
        return DELTA if self.name == "delta" else self.name


def limit(text: str) -> Limit:
    """Return the limit of a text `TASK:MARGIN`, such as `delta:0.5`.

    Raises:
        BenchError: it names no task, or the margin is no number of at least 0.
    """
    name, _, margin = text.partition(":")
    if name not in NAMES:
        raise unknown("task of a limit", name, NAMES)
    try:
        value = float(margin)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise BenchError(f"{text}: the margin must be a number of at least 0, as in {name}:0.5")
    return Limit(name, value)


def exceeded(compared: Compared, found: pd.DataFrame, limits: Sequence[Limit]) -> list[str]:
    """Return a line per row and limit of which A is worse than B by more than the margin.

    The mean difference over the common seeds decides. Its interval does not: with few images or
    seeds an interval is wide, and less evidence must not let a loss pass.

    Args:
        compared: the rows.
        found: their differences (`Compared.differences`).
        limits: the limits.

    Raises:
        BenchError: a limit cannot be checked, because A lacks what B has, or a row has no value.
    """
    if lacking := [gap.text for gap in compared.gaps if "A" in gap.lacking]:
        raise BenchError(
            f"the limits cannot be checked, because A lacks numbers: {'; '.join(lacking)}. Run "
            "what is missing, or choose rows that both have with --methods, --pair and --seeds"
        )
    lines: list[str] = []
    for one in limits:
        values = found[found["quantity"] == one.quantity]
        _require_values(compared, values, one)
        lines += _lines(values, one)
    return lines


def _require_values(compared: Compared, values: pd.DataFrame, one: Limit) -> None:
    """Raise a BenchError if a row has no value; Base has no Delta_TTT."""
    bases = sum(pair.bases for pair in compared.pairs) if one.quantity == DELTA else 0
    if len(values) < len(compared.pairs) - bases or values.empty:
        need = "run Base too" if one.quantity == DELTA else "choose a task that was scored"
        raise BenchError(f"the limit of {one.name} cannot be checked: rows lack it; {need}")


def _lines(values: pd.DataFrame, one: Limit) -> Iterator[str]:
    lower = one.quantity in TASKS and metrics_of(one.quantity).lower_is_better
    rows = zip(values["pair"], values["a"], values["b"], values["mean"], strict=True)
    for pair, a, b, mean in rows:
        loss = mean if lower else -mean
        if loss > one.margin:
            ours, theirs = PROPER_NAMES.of(a), PROPER_NAMES.of(b)
            rows_of = ours if a == b else f"{ours} against {theirs}"
            yield f"{pair}: {rows_of}: {one.name} is worse by {loss:.4g} (limit {one.margin:g})"
