"""The table of hyperparameters: optimiser, steps and batch of every row, and the published ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ttt_bench.report.settings.hyperparameter_notes import MARK, differing, hyperparameter_notes
from ttt_bench.report.settings.values import (
    OPTIMISER_NAMES,
    Settings,
    in_print,
    settings_of,
    shown,
)
from ttt_bench.report.tables import Cell, Column, Row, Section, Table
from ttt_bench.results.published.hyperparameters import EVERY, published_adaptation
from ttt_bench.stats.comparison import Comparison

COLUMNS = (
    Column(key="optimiser", head=("optimiser",)),
    Column(key="lr", head=("learning", "rate")),
    Column(key="lr_per_sample", head=("rate times", "batch size")),
    Column(key="momentum", head=("momentum",)),
    Column(key="nesterov", head=("Nesterov",)),
    Column(key="beta1", head=("beta 1",)),
    Column(key="beta2", head=("beta 2",)),
    Column(key="weight_decay", head=("weight", "decay")),
    Column(key="steps", head=("steps",)),
    Column(key="batch", head=("batch",)),
)
ALWAYS = ("lr", "steps")
"""Columns that are printed even if all rows have the same value."""

ALL = Column(key="settings", head=("settings",), printed=False, wraps=True)
"""All settings and options as JSON, in the CSV file."""

NAMES = {**OPTIMISER_NAMES, "true": "yes", "false": "no"}


def build(comparison: Comparison) -> Table | None:
    """Return the table of a comparison; None if no method has an optimiser.

    A setting that all rows share is a note, and a column of the CSV file alone.
    """
    rows = settings_of(comparison)
    if not any(row.adapts for row in rows):
        return None
    published = {name: one.value for name, one in published_adaptation(EVERY).items()}
    columns = [_column(column, rows, published) for column in COLUMNS]
    shared = [column for column in columns if not column.printed]
    return Table(
        title=f"{comparison.title}: hyperparameters at test time",
        subtitle=comparison.subtitle,
        columns=(*columns, ALL),
        sections=(_measured(rows), _published(published)),
        notes=tuple(hyperparameter_notes(comparison, rows, shared)),
    )


def _column(column: Column, rows: Sequence[Settings], published: Mapping[str, str]) -> Column:
    """Return the column, not printed if no row has another value than the others."""
    found = {_text(row.values[column.key]) for row in rows if column.key in row.values}
    if found and column.key in published:
        found.add(_text(in_print(published[column.key])))
    return replace(column, printed=column.key in ALWAYS or len(found) > 1)


def _measured(rows: Sequence[Settings]) -> Section:
    own = tuple(_row(row) for row in rows)
    return Section(key="run", heading="this run", rows=own)


def _row(row: Settings) -> Row:
    cells: dict[str, Cell] = {name: _text(value) for name, value in row.values.items()}
    cells[ALL.key] = json.dumps({**row.values, **row.options})
    mark = MARK if differing(row) else ""
    return Row(label=row.label, title=row.title, cells=cells, mark=mark)


def _published(published: Mapping[str, str]) -> Section:
    """Return the section of the protocol that S4T states for every method."""
    cells: dict[str, Cell] = {name: _text(in_print(value)) for name, value in published.items()}
    source = published_adaptation(EVERY)["lr"].source
    return Section(
        key="published",
        heading="published",
        rows=(Row(label="every method", cells=cells),),
        detail=source,
        measured=False,
    )


def _text(value: Any) -> str:
    """Return a setting of the optimiser in print."""
    text = shown(value)
    return NAMES.get(text, text)
