"""The tables of the metrics that are not primary, at the last step.

One table has the metrics of all classes together, the other one the metrics of each class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ttt_bench.analysis.verdicts import further_metrics
from ttt_bench.metrics.base import Metric, all_metrics
from ttt_bench.report.columns import class_column, metric_column, number
from ttt_bench.report.frames import named_rows
from ttt_bench.report.notes.reading import bold_notes
from ttt_bench.report.notes.run import others_notes, seeds_note
from ttt_bench.report.tables import Cell, Column, Note, Number, Row, Section, Table
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import FIXED


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A column and its numbers, by label."""

    metric: Metric
    column: Column
    numbers: dict[str, Number]


def build(comparison: Comparison) -> Table | None:
    """Return the table of the metrics of all classes together.

    None if no cell has any, as under schema version 1.
    """
    means = further_metrics(comparison)
    return _table(comparison, "more metrics", _overall(means[means["class"] == ""]))


def build_classes(comparison: Comparison) -> Table | None:
    """Return the table of the metrics of each class; None if no cell has any."""
    means = further_metrics(comparison)
    return _table(comparison, "each class", _by_class(means[means["class"] != ""]))


def _overall(means: pd.DataFrame) -> list[_Measured]:
    """Return a column per metric; all but the first one of a task are secondary."""
    columns: list[_Measured] = []
    for metric in all_metrics():
        own = _of_metric(means, metric)
        if len(own):
            further = any(metric.task == other.metric.task for other in columns)
            column = metric_column(metric, own["mean"].max(), secondary=further)
            columns.append(_measured(metric, column, own))
    return columns


def _by_class(means: pd.DataFrame) -> list[_Measured]:
    """Return a column per metric and class."""
    columns = []
    for metric in all_metrics():
        for label, own in _of_metric(means, metric).groupby("class", sort=False):
            columns.append(_measured(metric, class_column(metric, str(label)), own))
    return columns


def _of_metric(means: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    return means[(means["task"] == metric.task) & (means["metric"] == metric.name)]


def _measured(metric: Metric, column: Column, own: pd.DataFrame) -> _Measured:
    by_label = {row.label: number(row.mean, row.sd, row.verdict) for row in named_rows(own)}
    return _Measured(metric=metric, column=column, numbers=by_label)


def _table(comparison: Comparison, about: str, columns: Sequence[_Measured]) -> Table | None:
    """Return a table with one row per label that has any number; None without a column."""
    if not columns:
        return None
    rows = [_row(comparison, label, columns) for label in comparison.labels]
    section = Section(
        key=FIXED.name,
        heading=FIXED.heading,
        rows=tuple(row for row in rows if row.cells),
        detail=FIXED.detail,
    )
    return Table(
        title=f"{comparison.title}: {about}",
        subtitle=comparison.subtitle,
        columns=tuple(measured.column for measured in columns),
        sections=(section,),
        notes=tuple(_notes(comparison, columns)),
    )


def _row(comparison: Comparison, label: str, columns: Sequence[_Measured]) -> Row:
    cells: dict[str, Cell] = {}
    for measured in columns:
        if label in measured.numbers:
            cells[measured.column.key] = measured.numbers[label]
    return Row(label=label, title=comparison.names.of(label), cells=cells)


def _notes(comparison: Comparison, columns: Sequence[_Measured]) -> list[Note]:
    notes = [seeds_note(comparison), *others_notes(comparison)]
    notes += bold_notes(comparison, images=False)
    metrics = dict.fromkeys(measured.metric for measured in columns)
    return notes + [_definition(metric) for metric in metrics]


def _definition(metric: Metric) -> Note:
    """Return the note that defines a metric."""
    about = metric.head if metric.per_class else f"{metric.task} {metric.head}"
    return Note(about, metric.about)
