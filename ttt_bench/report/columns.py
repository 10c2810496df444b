"""Columns of quantities and metrics, and their names in CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from ttt_bench.metrics.base import Metric, metrics_of
from ttt_bench.report.tables import Column, Number
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.stats.summary import DELTA_NO_EDGE, OWN_GAIN, indistinguishable_best
from ttt_bench.tasks import TASKS

DELTA_KEY = "delta_ttt_percent"
DELTA_NO_EDGE_KEY = "delta_ttt_without_edge_percent"
OWN_GAIN_KEY = "gain_over_own_source_percent"

GAINS = {
    DELTA: Column(key=DELTA_KEY, head=("Delta_TTT", "%"), higher_is_better=True),
    DELTA_NO_EDGE: Column(
        key=DELTA_NO_EDGE_KEY, head=("without", "edge %"), higher_is_better=True, secondary=True
    ),
    OWN_GAIN: Column(
        key=OWN_GAIN_KEY, head=("over own", "source %"), higher_is_better=True, secondary=True
    ),
}
"""The columns of derived quantities, by the quantity's name in `stats.summary`."""


def metric_key(metric: Metric) -> str:
    """Return a metric's key: task, metric and unit, joined by underscores."""
    return _joined(metric.task, metric.name, metric.unit)


def class_key(metric: Metric, label: str) -> str:
    """Return the key of a metric of one class: metric, unit and class."""
    return _joined(metric.name, metric.unit, label)


def task_key(task: str) -> str:
    """Return the key of a task's primary metric."""
    return metric_key(metrics_of(task).primary)


def quantity_key(quantity: str) -> str:
    """Return the key of a task or of another quantity of `stats.summary`."""
    if quantity in TASKS:
        return task_key(quantity)
    return GAINS[quantity].key if quantity in GAINS else quantity


def metric_column(metric: Metric, largest: float, *, secondary: bool = False) -> Column:
    """Return a metric's column, with about four significant digits, as in the papers.

    Args:
        largest: the largest mean of the column.
    """
    return Column(
        key=metric_key(metric),
        head=(metric.task, metric.printed),
        decimals=_decimals(metric, largest),
        higher_is_better=metric.higher_is_better,
        secondary=secondary,
    )


def class_column(metric: Metric, label: str) -> Column:
    """Return the column of a metric of one class."""
    return Column(
        key=class_key(metric, label),
        head=(label, metric.printed),
        higher_is_better=metric.higher_is_better,
        secondary=True,
    )


def number(mean: float, sd: float, *, bold: bool) -> Number:
    """Return a number of a table; `sd` may be NaN."""
    return Number(mean=float(mean), sd=None if math.isnan(sd) else float(sd), bold=bool(bold))


def numbers(means: pd.DataFrame, *, higher_is_better: bool) -> list[Number]:
    """Return the numbers of one column; the best one, and those close to it, are bold.

    Args:
        means: rows with `mean` and `sd`.
    """
    best = indistinguishable_best(
        means["mean"].tolist(), means["sd"].tolist(), higher_is_better=higher_is_better
    )
    cells = zip(means["mean"], means["sd"], best, strict=True)
    return [number(mean, sd, bold=bold) for mean, sd, bold in cells]


def any_bold(cells: Sequence[Number]) -> bool:
    """Return whether any number is bold."""
    return any(cell.bold for cell in cells)


def _decimals(metric: Metric, largest: float) -> int:
    if metric.unit:
        return 2
    return 3 if largest >= 1 else 4


def _joined(*words: str) -> str:
    return "_".join(filter(None, words))
