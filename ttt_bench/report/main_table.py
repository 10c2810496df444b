"""The main table of a comparison: every task's primary metric and Delta_TTT under each step rule.

The scores of the best constant prediction and the published numbers follow in sections below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from ttt_bench.analysis.evidence import ESTIMATE_COLUMNS, Evidence
from ttt_bench.analysis.verdicts import OPEN, verdicts, yardstick
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.classes import absent_notes
from ttt_bench.report.columns import (
    DELTA_KEY,
    DELTA_NO_EDGE_KEY,
    DIFFERENCES,
    GAINS,
    SEEDS_KEY,
    difference_column,
    metric_column,
    number,
    quantity_key,
    task_key,
    with_interval,
)
from ttt_bench.report.formats.cells import rounded
from ttt_bench.report.frames import named_rows
from ttt_bench.report.notes.reading import reading_notes
from ttt_bench.report.notes.run import STATES, run_notes
from ttt_bench.report.published_rows import PublishedRows
from ttt_bench.report.tables import DASH, Cell, Column, Note, Number, Row, Section, Table
from ttt_bench.stats import summary
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA, StepRule
from ttt_bench.stats.summary import STEP

MOST_SEEDS = 5
"""The largest number of seeds whose values have room in a table."""


@dataclass(frozen=True)
class MainTable:
    """The table and the long frame of its numbers (`Evidence.all_estimates`)."""

    table: Table
    estimates: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class _Content:
    """The numbers of a comparison's main table.

    Attributes:
        means: as `Evidence.all_estimates` returns them, with the column `verdict`.
        differences: as `Evidence.all_differences` returns them, with the column `verdict`.
        still: labels whose scores are equal at every step from 1 on.
        rules: the step rules of its sections.
    """

    comparison: Comparison
    means: pd.DataFrame
    differences: pd.DataFrame
    published: PublishedRows
    still: frozenset[str]
    rules: Sequence[StepRule]

    @property
    def has_delta(self) -> bool:
        """Return whether any row has a Delta_TTT."""
        return bool((self.means["quantity"] == DELTA).any())


def build(
    evidence: Evidence,
    constants: Mapping[str, float],
    pixels: Mapping[str, float] | None = None,
) -> MainTable:
    """Return a comparison's main table.

    Args:
        constants: map task to the score of the best constant prediction
            (`summary.constant_predictor`); may be empty.
        pixels: map class to its pixels in the target; None without semantic segmentation.
    """
    comparison = evidence.comparison
    if comparison.rows.empty:
        return _build_without_numbers(comparison)
    differences = evidence.all_differences()
    differences = differences.assign(verdict=verdicts(differences))
    means = _with_verdicts(evidence.all_estimates(), differences, yardstick(comparison))
    content = _Content(
        comparison=comparison,
        means=means,
        differences=differences,
        published=PublishedRows.of(comparison),
        still=summary.still_labels(comparison.scores),
        rules=evidence.sections,
    )
    table = Table(
        title=comparison.title,
        subtitle=comparison.subtitle,
        columns=_columns(content),
        sections=_sections(content, constants),
        notes=_notes(content, constants, pixels or {}),
    )
    return MainTable(table, means)


def _sections(content: _Content, constants: Mapping[str, float]) -> tuple[Section, ...]:
    return (
        *_measured_sections(content),
        *_constant_section(constants),
        *content.published.sections(),
        *_without_numbers(content.comparison),
    )


def _notes(
    content: _Content, constants: Mapping[str, float], pixels: Mapping[str, float]
) -> tuple[Note, ...]:
    comparison = content.comparison
    return (
        *reading_notes(comparison, content.means, constants, content.still),
        *absent_notes(pixels),
        *run_notes(comparison),
        *content.published.notes,
    )


def _build_without_numbers(comparison: Comparison) -> MainTable:
    """Return the table of a comparison whose cells all lack numbers."""
    table = Table(
        title=comparison.title,
        subtitle=comparison.subtitle,
        columns=(Column(key="result", head=("result",)),),
        sections=_without_numbers(comparison),
        notes=tuple(run_notes(comparison)),
    )
    return MainTable(table, pd.DataFrame(columns=["selection", "label", *ESTIMATE_COLUMNS]))


def _with_verdicts(
    means: pd.DataFrame, differences: pd.DataFrame, reference: str | None
) -> pd.DataFrame:
    """Add `verdict`: whether a number is shown to be better or worse than the reference."""
    keys = ["selection", "label", "quantity"]
    against = differences[differences["reference"] == reference]
    merged = means.merge(against[[*keys, "verdict"]], on=keys, how="left")
    return merged.assign(verdict=merged["verdict"].fillna(OPEN).astype(int))


def _columns(content: _Content) -> tuple[Column, ...]:
    largest = content.means.groupby("quantity")["mean"].max()
    tasks = content.comparison.tasks
    columns = [metric_column(metrics_of(task).primary, largest[task]) for task in tasks]
    columns += [column for quantity, column in GAINS.items() if quantity in largest.index]
    columns += _difference_columns(content)
    columns.append(_step_column(content.means))
    columns += content.published.columns if content.has_delta else ()
    return (*columns, _seeds_column(content.means))


def _difference_columns(content: _Content) -> list[Column]:
    """Return the columns of differences of Delta_TTT, and that of its values for each seed."""
    present = set(content.differences["reference"])
    names = content.comparison.names
    columns = [difference_column(one, names) for one in DIFFERENCES if one in present]
    seeds = content.means["seeds"].max()
    if content.has_delta and 1 < seeds <= MOST_SEEDS:
        columns.append(Column(key=SEEDS_KEY, head=("Delta_TTT", "of each seed"), secondary=True))
    return columns


def _step_column(means: pd.DataFrame) -> Column:
    """Return the column of steps, without decimals if all of its numbers are whole."""
    steps = means[means["quantity"] == STEP]
    whole = (steps["mean"] % 1 == 0).all() and (steps["sd"].fillna(0) == 0).all()
    return Column(key="step", head=("step",), decimals=0 if whole else 1, secondary=True)


def _seeds_column(means: pd.DataFrame) -> Column:
    """Return the column with the number of seeds, printed only if it differs between rows."""
    per_row = means.groupby("label")["seeds"].max()
    return Column(key="seeds", head=("seeds",), decimals=0, printed=per_row.nunique() > 1)


def _measured_sections(content: _Content) -> list[Section]:
    """Return a section for each step rule that gives numbers."""
    present = set(content.means["selection"])
    return [_measured_section(content, rule) for rule in content.rules if rule.name in present]


def _measured_section(content: _Content, rule: StepRule) -> Section:
    means = content.means[content.means["selection"] == rule.name]
    present, names = set(means["label"]), content.comparison.names
    rows = []
    for label in content.comparison.labels:
        if label in present:
            own = means[means["label"] == label].set_index("quantity")
            cells = _measured_cells(content, rule, label, own)
            rows.append(Row(label=label, title=names.of(label), cells=cells))
    return Section(key=rule.name, heading=rule.heading, rows=tuple(rows), detail=rule.detail)


def _measured_cells(
    content: _Content, rule: StepRule, label: str, own: pd.DataFrame
) -> dict[str, Cell]:
    """Return the cells of a row.

    Args:
        own: the row's numbers, with the quantity as index.
    """
    cells: dict[str, Cell] = {}
    for quantity in named_rows(own):
        key = quantity_key(quantity.Index)
        shown = number(quantity.mean, quantity.sd, quantity.verdict)
        cells[key] = with_interval(shown, quantity.low, quantity.high)
    if label == content.comparison.base:
        cells |= _zeros(cells)
    cells |= _differences(content, rule, label)
    cells |= _each_seed(own)
    cells[STEP] = _step(content, rule, label, cells[STEP])
    cells["seeds"] = Number(mean=int(own["seeds"].max()))
    return cells | content.published.cells(rule, label)


def _differences(content: _Content, rule: StepRule, label: str) -> dict[str, Cell]:
    """Return the cells of a row with differences of Delta_TTT."""
    found = content.differences
    own = found[
        (found["selection"] == rule.name) & (found["label"] == label) & (found["quantity"] == DELTA)
    ]
    cells: dict[str, Cell] = {}
    for row in named_rows(own[own["reference"].isin(list(DIFFERENCES))]):
        shown = number(row.mean, row.sd, row.verdict)
        cells[DIFFERENCES[row.reference]] = with_interval(shown, row.low, row.high)
    return cells


def _each_seed(own: pd.DataFrame) -> dict[str, Cell]:
    """Return the cell with Delta_TTT of each seed, in order of seeds."""
    if DELTA not in own.index:
        return {}
    values = next(named_rows(own.loc[[DELTA]])).values
    return {SEEDS_KEY: ", ".join(rounded(value, 2) for value in values.values())}


def _zeros(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Return Base's change against itself: 0 by definition, without a spread."""
    return {key: Number(mean=0.0) for key in (DELTA_KEY, DELTA_NO_EDGE_KEY) if key in cells}


def _step(content: _Content, rule: StepRule, label: str, step: Cell) -> Cell:
    """Return the cell of the chosen step: a dash if no step is better than another."""
    unmoved = rule.uses_labels and label in content.still
    if content.comparison.methods[label] == "base" or unmoved:
        return DASH
    if not rule.uses_labels and isinstance(step, Number):
        return Number(mean=step.mean, decimals=0)
    return step


def _constant_section(constants: Mapping[str, float]) -> tuple[Section, ...]:
    if not constants:
        return ()
    cells: dict[str, Cell] = {}
    for task, value in constants.items():
        cells[task_key(task)] = Number(mean=value)
    row = Row(label="best constant", cells=cells)
    return (Section(key="constant", heading="constant predictor", rows=(row,)),)


def _without_numbers(comparison: Comparison) -> tuple[Section, ...]:
    """Return a section of the rows whose cells all lack numbers, if there are any."""
    rows = []
    with_numbers = set(comparison.done["label"])
    for label, cells in comparison.missing.groupby("label", sort=False):
        if label not in with_numbers:
            rows.append(_row_without_numbers(comparison, str(label), cells))
    if not rows:
        return ()
    return (Section(key="missing", heading="without numbers", rows=tuple(rows)),)


def _row_without_numbers(comparison: Comparison, label: str, cells: pd.DataFrame) -> Row:
    states = [STATES.get(state, state) for state in cells["state"].unique()]
    reasons = filter(None, cells["reason"].unique())
    return Row(
        label=label,
        title=comparison.names.of(label),
        state=" / ".join(states),
        reason="; ".join(reasons),
    )
