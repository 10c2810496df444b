"""The metrics beside each task's primary one, at the last step: one table of them, and one of
the IoU of each class.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from ttt_bench.report.main_table import BOLD_NOTE, metric_column, number
from ttt_bench.report.notes import Note, others_notes, seeds_note
from ttt_bench.report.tables import Cell, Column, Row, Section, Table
from ttt_bench.stats import summary
from ttt_bench.stats.comparison import Comparison
from ttt_bench.tasks import METRICS, Metric


def build(comparison: Comparison) -> Table | None:
    """Lay out the metrics of all classes together; None where no cell has any, as under schema
    version 1.
    """
    means = summary.other_metrics(comparison.rows)
    means = means[means["class"] == ""]
    columns: dict[tuple[Metric, str], Column] = {}
    notes: list[Note] = []
    for metric in METRICS:
        values = means[(means["task"] == metric.task) & (means["metric"] == metric.name)]
        if len(values):
            further = metric.task in {known.task for known, _ in columns}
            columns[metric, ""] = replace(
                metric_column(metric, values["mean"].max()), secondary=further
            )
            notes.append((f"{metric.task} {metric.head}", metric.about))
    return _table(comparison, "more metrics", means, columns, notes)


def build_classes(comparison: Comparison) -> Table | None:
    """Lay out the metrics of each class; None where no cell has any."""
    means = summary.other_metrics(comparison.rows)
    columns: dict[tuple[Metric, str], Column] = {}
    notes: list[Note] = []
    for metric in METRICS:
        labels = means.loc[
            (means["metric"] == metric.name) & (means["class"] != ""), "class"
        ].unique()
        for label in labels:
            key = "_".join(filter(None, (metric.name, metric.unit, label)))
            columns[metric, label] = Column(
                key, (label, metric.printed), 2, metric.higher_is_better, secondary=True
            )
        notes += [(metric.head, metric.about)] if len(labels) else []
    return _table(comparison, "each class", means, columns, notes)


def _table(
    comparison: Comparison,
    about: str,
    means: pd.DataFrame,
    columns: dict[tuple[Metric, str], Column],
    definitions: list[Note],
) -> Table | None:
    """A table of one column a metric and class, one row a label."""
    if not columns:
        return None
    cells: dict[str, dict[str, Cell]] = {label: {} for label in comparison.labels}
    bold = False
    for (metric, group), column in columns.items():
        own = means[
            (means["task"] == metric.task)
            & (means["metric"] == metric.name)
            & (means["class"] == group)
        ]
        best = summary.indistinguishable_best(
            own["mean"].tolist(), own["sd"].tolist(), metric.higher_is_better
        )
        bold |= any(best)
        for label, mean, sd, flag in zip(own["label"], own["mean"], own["sd"], best, strict=True):
            cells[label][column.key] = number(mean, sd, flag)
    rows = tuple(Row(label, found) for label, found in cells.items() if found)
    notes = [
        seeds_note(comparison),
        *others_notes(comparison),
        *([BOLD_NOTE] if bold else []),
        *definitions,
    ]
    section = Section(summary.FIXED, "fixed step", rows, "the last one")
    title = f"{comparison.title}: {about}"
    return Table(title, comparison.subtitle, tuple(columns.values()), (section,), tuple(notes))
