"""Columns of quantities and metrics, and their names in CSV."""

from __future__ import annotations

import math
from dataclasses import replace

from ttt_bench.analysis.evidence import FROZEN, NORM
from ttt_bench.analysis.verdicts import BETTER, OPEN, WORSE
from ttt_bench.metrics.base import Metric, metrics_of
from ttt_bench.report.tables import Column, Number
from ttt_bench.results.method_names import MethodNames
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.stats.summary import DELTA_NO_EDGE, OWN_GAIN
from ttt_bench.tasks import TASKS

DELTA_KEY = "delta_ttt_percent"
DELTA_NO_EDGE_KEY = "delta_ttt_without_edge_percent"
OWN_GAIN_KEY = "gain_over_own_source_percent"

MARK_WORSE = "▼"
"""The mark of a number that is shown to be worse than its reference."""

DIFFERENCES = {NORM: "delta_ttt_minus_norm", FROZEN: "delta_ttt_minus_frozen"}
"""Keys of the columns of differences of Delta_TTT, by the reference (`analysis.evidence`)."""
SEEDS_KEY = "delta_ttt_percent_of_each_seed"

GAINS = {
    DELTA: Column(key=DELTA_KEY, head=("Delta_TTT", "%"), higher_is_better=True, intervals=True),
    DELTA_NO_EDGE: Column(
        key=DELTA_NO_EDGE_KEY, head=("without", "edge %"), higher_is_better=True, secondary=True
    ),
    OWN_GAIN: Column(
        key=OWN_GAIN_KEY, head=("over own", "source %"), higher_is_better=True, secondary=True
    ),
}
"""The columns of derived quantities, by the quantity's name in `stats.summary`."""


def difference_column(reference: str, names: MethodNames) -> Column:
    """Return the column of the differences of Delta_TTT to a reference, in points."""
    return Column(
        key=DIFFERENCES[reference],
        head=("Delta_TTT", f"− {names.of(reference)}"),
        higher_is_better=True,
        secondary=reference == FROZEN,
        intervals=True,
    )


def metric_key(metric: Metric) -> str:
    """Return a metric's key: task, metric and unit, joined by underscores."""
    return _joined(metric.task, metric.name, metric.unit)


def class_key(metric: Metric, label: str) -> str:
    """Return the key of a metric of one class: metric, unit and class."""
    return _joined(metric.name, metric.unit, _class_words(metric, label))


def _class_words(metric: Metric, label: str) -> str:
    """Return the name of a class; with its task if the label space does not decide on it."""
    return label if TASKS[metric.task].needs_labels else f"{metric.task} {label}"


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
        per_task=True,
    )


def class_column(metric: Metric, label: str) -> Column:
    """Return the column of a metric of one class."""
    return Column(
        key=class_key(metric, label),
        head=(_class_words(metric, label), metric.printed),
        higher_is_better=metric.higher_is_better,
        secondary=True,
        per_task=True,
    )


def number(mean: float, sd: float, verdict: int = OPEN) -> Number:
    """Return a number of a table with its standard deviation, which may be NaN.

    A number that is shown to be better than its reference is bold, a worse one has a mark.
    """
    spread = None if math.isnan(sd) else float(sd)
    return Number(
        mean=float(mean), sd=spread, bold=verdict == BETTER, mark=MARK_WORSE * (verdict == WORSE)
    )


def with_interval(shown: Number, low: float, high: float) -> Number:
    """Return a number with its interval; without one, if its ends are NaN."""
    if math.isnan(low) or math.isnan(high):
        return shown
    return replace(shown, interval=(float(low), float(high)))


def _decimals(metric: Metric, largest: float) -> int:
    if metric.unit:
        return 2
    return 3 if largest >= 1 else 4


def _joined(*words: str) -> str:
    return "_".join(filter(None, words))
