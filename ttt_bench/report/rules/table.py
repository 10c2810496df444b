"""The table of step rules: Delta_TTT under each, the chosen steps, and the regret."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.regret import (
    HELD_OUT,
    adapting,
    compared_rules,
    held_out,
    mean_regrets,
    regrets,
)
from ttt_bench.analysis.replicates import Chosen
from ttt_bench.report.columns import number, with_interval
from ttt_bench.report.frames import named_rows
from ttt_bench.report.rules.notes import rules_notes
from ttt_bench.report.tables import DASH, Cell, Column, Number, Row, Section, Table
from ttt_bench.results.method_names import MethodNames
from ttt_bench.stats.step_rules import DELTA, ORACLE, StepRule
from ttt_bench.stats.summary import STEP, still_labels

REGRET = "regret"
Cells = dict[str, dict[str, Cell]]
"""Label -> column key -> cell."""


def rules_table(evidence: Evidence) -> Table | None:
    """Return the table of a comparison; None without Base or without a method that adapts."""
    labels = [label for label in adapting(evidence) if evidence.chosen[ORACLE.name].rows(label)]
    if not labels:
        return None
    rules = [*compared_rules(evidence), ORACLE]
    found = regrets(evidence)
    shared = _shared(found, labels, rules)
    section = partial(_section, evidence.comparison.names)
    sections = (
        section(DELTA, "Delta_TTT", "percent", _deltas(evidence, labels, rules)),
        section(STEP, "chosen step", "mean over seeds", _steps(evidence, labels, rules)),
        section(
            REGRET,
            "regret",
            "Delta_TTT of the oracle minus that of the rule, in points",
            {**_regrets(found), **_mean(evidence, shared)},
        ),
    )
    return Table(
        title=f"{evidence.comparison.title}: step rules",
        subtitle=evidence.comparison.subtitle,
        columns=_columns(rules, found),
        sections=sections,
        notes=tuple(rules_notes(evidence, rules, labels, shared)),
    )


def _columns(rules: Sequence[StepRule], found: pd.DataFrame) -> tuple[Column, ...]:
    """Return a column per rule, and that of the held-out oracle if it was estimated."""
    columns = [Column(key=rule.name, head=_head(rule.heading), intervals=True) for rule in rules]
    if (found["selection"] == HELD_OUT).any():
        columns.append(Column(key=HELD_OUT, head=("oracle,", "held out")))
    return tuple(columns)


def _head(heading: str) -> tuple[str, ...]:
    """Return a heading in one or two lines."""
    first, _, rest = heading.partition(" ")
    return (first, rest) if rest else (first,)


def _section(names: MethodNames, key: str, heading: str, detail: str, rows: Cells) -> Section:
    shown = tuple(
        Row(label=label, title=names.of(label), cells=cells) for label, cells in rows.items()
    )
    return Section(key=key, heading=heading, rows=shown, detail=detail)


def _deltas(evidence: Evidence, labels: Sequence[str], rules: Sequence[StepRule]) -> Cells:
    rows: Cells = {label: {} for label in labels}
    for rule in rules:
        found = evidence.estimates(rule.name)
        own = found[(found["quantity"] == DELTA) & found["label"].isin(labels)]
        for row in named_rows(own):
            rows[row.label][rule.name] = _interval(row)
    for label in labels:
        if (held := held_out(evidence, label)) is not None:
            rows[label][HELD_OUT] = number(*held)
    return rows


def _steps(evidence: Evidence, labels: Sequence[str], rules: Sequence[StepRule]) -> Cells:
    still = still_labels(evidence.comparison.scores)
    rows: Cells = {label: {} for label in labels}
    for rule in rules:
        # where scores are equal, no step is better than another
        chosen = [label for label in labels if not (rule.uses_labels and label in still)]
        for label in chosen:
            rows[label][rule.name] = _step(evidence.chosen[rule.name], label)
    return rows


def _step(found: Chosen, label: str) -> Cell:
    places = list(found.rows(label).values())
    return Number(mean=float(np.mean(found.steps[places])), decimals=1) if places else DASH


def _regrets(found: pd.DataFrame) -> Cells:
    rows: Cells = {}
    for row in named_rows(found):
        rows.setdefault(row.label, {})[row.selection] = _interval(row)
    return rows


def _shared(found: pd.DataFrame, labels: Sequence[str], rules: Sequence[StepRule]) -> list[str]:
    """Return the labels with a regret under every rule."""
    names = {rule.name for rule in rules} - {ORACLE.name}
    known = found.groupby("label")["selection"].agg(set)
    return [label for label in labels if names <= known.get(label, set())]


def _mean(evidence: Evidence, labels: Sequence[str]) -> Cells:
    """Return the row of the mean over labels; none for fewer than two."""
    if len(labels) < 2:
        return {}
    cells: dict[str, Cell] = {}
    for row in named_rows(mean_regrets(evidence, labels)):
        cells[row.selection] = _interval(row)
    return {f"mean of {len(labels)} rows": cells}


def _interval(row: Any) -> Number:
    return with_interval(number(row.mean, row.sd), row.low, row.high)
