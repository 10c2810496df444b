"""The tables of a group of comparisons: Delta_TTT with mean and rank, and scores side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ttt_bench.analysis.across.frames import ALL, RANK, across_frame, labels_of, methods_of
from ttt_bench.analysis.across.groups import CHOICES, Group
from ttt_bench.analysis.across.published_frame import published_frame
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.across.notes import delta_notes, published_tables, score_notes
from ttt_bench.report.columns import GAINS, metric_column, number, with_interval
from ttt_bench.report.frames import named_rows
from ttt_bench.report.published_rows import SELECTION
from ttt_bench.report.tables import Cell, Column, Number, Row, Section, Table
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames
from ttt_bench.stats.comparison import file_name
from ttt_bench.stats.step_rules import DELTA, SECTIONS

SIDE_BY_SIDE = 2
"""Values whose scores fit the width of a table."""

TITLES = {
    "pair": "Across pairs",
    "protocol": "Across protocols",
    "preset": "Across presets",
    "hparams": "Across hyperparameters",
    "data_variant": "Across data variants",
}


@dataclass(frozen=True)
class GroupNumbers:
    """A group with its frames (`across_frame`) under the main table's rules."""

    group: Group
    names: MethodNames = PROPER_NAMES

    @cached_property
    def frames(self) -> Mapping[str, pd.DataFrame]:
        """Map the name of each rule to the group's frame."""
        return {rule.name: across_frame(self.group, rule.name) for rule in SECTIONS}

    @cached_property
    def published(self) -> pd.DataFrame:
        """Return the published numbers (`published_frame`)."""
        return published_frame(self.group)

    @property
    def title(self) -> str:
        return TITLES.get(self.group.axis, f"Across values of {self.group.axis}")

    @property
    def slug(self) -> str:
        """Return a name for the folder and the anchor."""
        group, key = self.group, self.group.members[0].key
        kept = [getattr(key, choice) for choice in CHOICES if choice != group.axis]
        settings = "; ".join(f"{name}={value}" for name, value in group.shared_settings)
        words = (f"across-{group.axis}", *(word.replace(":", "+") for word in kept))
        return file_name(words, settings)


def delta_table(found: GroupNumbers) -> Table:
    """Return Delta_TTT for each value, its mean and the average rank."""
    group = found.group
    columns = [_delta_column(value) for value in group.values]
    ranks = [_rank_column(value) for value in group.values]
    average = replace(_rank_column(ALL), head=("average", "rank"), printed=True, decimals=1)
    mean = replace(_delta_column(ALL), head=("mean", "Delta_TTT %"))
    return Table(
        title=f"{found.title}: Delta_TTT",
        subtitle=group.shared,
        columns=(*columns, mean, average, *ranks),
        sections=tuple(_sections(found, [DELTA, RANK], [*group.values, ALL], labels_of(group))),
        notes=tuple(delta_notes(group, found.names)),
    )


def score_tables(found: GroupNumbers) -> list[Table]:
    """Return each task's score and Delta_TTT side by side, for two values per table."""
    group = found.group
    values = list(group.values)
    parts = [values[n : n + SIDE_BY_SIDE] for n in range(0, len(values), SIDE_BY_SIDE)]
    return [_score_table(found, part) for part in parts]


def _score_table(found: GroupNumbers, values: Sequence[str]) -> Table:
    columns = [column for value in values for column in _score_columns(found, value)]
    names = ", ".join(map(shown_value, values))
    quantities = [*_tasks(found.group, values), DELTA]
    return Table(
        title=f"{found.title}: scores on {names}",
        subtitle=found.group.shared,
        columns=tuple(columns),
        sections=tuple(_sections(found, quantities, values, methods_of(found.group))),
        notes=tuple(score_notes(found.group, found.names)),
    )


def _score_columns(found: GroupNumbers, value: str) -> Iterator[Column]:
    frame = pd.concat(found.frames.values())
    own = frame[frame["value"] == value]
    for task in _tasks(found.group, [value]):
        largest = float(own.loc[own["quantity"] == task, "mean"].max())
        column = metric_column(metrics_of(task).primary, largest)
        yield replace(column, key=_key(value, task), group=shown_value(value), secondary=True)
    if (own["quantity"] == DELTA).any():
        delta = replace(GAINS[DELTA], key=_key(value, DELTA), intervals=False)
        yield replace(delta, group=shown_value(value))


def _tasks(group: Group, values: Sequence[str]) -> list[str]:
    """Return the tasks of some of the values."""
    members = dict(zip(group.values, group.members, strict=True))
    return list(dict.fromkeys(task for value in values for task in members[value].tasks))


def _sections(
    found: GroupNumbers, quantities: Sequence[str], values: Sequence[str], labels: Sequence[str]
) -> Iterator[Section]:
    """Yield a section per step rule, and one of published numbers, with the rows that have any."""
    for rule in SECTIONS:
        section = Section(key=rule.name, heading=rule.heading, rows=(), detail=rule.detail)
        rows = _rows(found.frames[rule.name], quantities, values, labels)
        if rows:
            yield replace(section, rows=_titled(rows, found.names))
    rows = _titled(_rows(found.published, quantities, values, labels), found.names)
    if rows:
        detail = published_tables(found.group)
        yield Section(key=SELECTION, heading="published", rows=rows, detail=detail, measured=False)


def _titled(rows: Sequence[Row], names: MethodNames) -> tuple[Row, ...]:
    """Return the rows with their printed names."""
    return tuple(replace(row, title=names.of(row.label)) for row in rows)


def _rows(
    frame: pd.DataFrame, quantities: Sequence[str], values: Sequence[str], labels: Sequence[str]
) -> tuple[Row, ...]:
    """Return the rows of some labels that have a number."""
    chosen = {"quantity": quantities, "value": values, "label": labels}
    own = frame[np.all([frame[name].isin(list(kept)) for name, kept in chosen.items()], axis=0)]
    rows: dict[str, dict[str, Cell]] = {label: {} for label in labels}
    for row in named_rows(own):
        rows[row.label][_key(row.value, row.quantity)] = _number(row)
    return tuple(Row(label=label, cells=cells) for label, cells in rows.items() if cells)


def _number(row: Any) -> Number:
    return with_interval(number(row.mean, row.sd), row.low, row.high)


def _delta_column(value: str) -> Column:
    head = (shown_value(value), "%")
    return replace(GAINS[DELTA], key=_key(value, DELTA), head=head)


def _rank_column(value: str) -> Column:
    head = (shown_value(value), "rank")
    return Column(key=_key(value, RANK), head=head, printed=False, intervals=True)


def _key(value: str, quantity: str) -> str:
    """Return the name of a column in CSV: value and quantity."""
    return f"{value} {quantity}"


def shown_value(value: str) -> str:
    """Return a value in print, a pair with an arrow."""
    return value.replace(":", " → ")
