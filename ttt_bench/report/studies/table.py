"""The table of a study: one row per arm and method, with the published numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.studies import ArmResults, StudyResults, mean_delta
from ttt_bench.analysis.verdicts import verdicts
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.columns import (
    DELTA_KEY,
    GAINS,
    metric_column,
    number,
    quantity_key,
    with_interval,
)
from ttt_bench.report.frames import named_rows
from ttt_bench.report.published_rows import SELECTION, PublishedRows
from ttt_bench.report.studies.notes import number_notes, study_notes
from ttt_bench.report.tables import Cell, Column, Note, Number, Row, Section, Table
from ttt_bench.results.published import PublishedRow
from ttt_bench.stats.comparison import Key
from ttt_bench.stats.step_rules import DELTA, SECTIONS, StepRule
from ttt_bench.tasks import TASKS, canonical

TOGETHER = "one network per task"
"""The row that has the score of each task from the arm of this task alone."""
TOGETHER_TEXT = (
    "the scores of the arms of one task in one row. Its Delta_TTT is the mean of theirs, and is "
    "not tested against Base. Under the oracle each network has the best step of its own task"
)


def arms_table(found: StudyResults) -> Table:
    """Return the table of a study: scores and Delta_TTT of every arm under each step rule."""
    means = {rule.name: found.estimates(rule.name) for rule in SECTIONS}
    every = pd.concat(means.values(), ignore_index=True)
    sections = tuple(_sections(found, means))
    return Table(
        title=found.study.title,
        subtitle=subtitle(found),
        columns=_columns(found, every),
        sections=sections,
        notes=(*study_notes(found), *_together(sections), *number_notes(found, every)),
        corner="arm",
    )


def _together(sections: Sequence[Section]) -> list[Note]:
    """Return the note on the row `TOGETHER` if the table has it."""
    labels = {row.label for section in sections for row in section.rows}
    return [Note(TOGETHER.capitalize(), TOGETHER_TEXT)] if TOGETHER in labels else []


def subtitle(found: StudyResults) -> str:
    """Return the pair, and what all cells of the study share."""
    words = [found.file.pair.replace(":", " → ")]
    return ", ".join([*words, *(one.subtitle for one in found.comparisons[:1])])


def tasks_of(found: StudyResults) -> tuple[str, ...]:
    """Return the tasks of all comparisons, in canonical order."""
    return canonical({task for one in found.comparisons for task in one.tasks})


def _columns(found: StudyResults, every: pd.DataFrame) -> tuple[Column, ...]:
    if every.empty:
        return (Column(key="result", head=("result",)),)
    largest = every.groupby("quantity")["mean"].max()
    tasks = [task for task in tasks_of(found) if task in largest.index]
    columns = [metric_column(metrics_of(task).primary, largest[task]) for task in tasks]
    columns += [GAINS[DELTA]] if DELTA in largest.index else []
    published = [column for one in found.comparisons for column in PublishedRows.of(one).columns]
    return (*columns, *dict.fromkeys(published))


def _sections(found: StudyResults, means: dict[str, pd.DataFrame]) -> Iterator[Section]:
    for rule in SECTIONS:
        own = means[rule.name]
        if len(own):
            rows = tuple(_rows(found, rule, own))
            yield Section(key=rule.name, heading=rule.heading, rows=rows, detail=rule.detail)
    yield from _published(found, pd.concat(means.values(), ignore_index=True))
    missing = [arm for arm in found.arms if not arm.labels]
    if missing:
        rows = tuple(Row(label=arm.arm.label, state=_state(arm)) for arm in missing)
        yield Section(key="missing", heading="without numbers", rows=rows)


def _published(found: StudyResults, means: pd.DataFrame) -> Iterator[Section]:
    """Yield the section of published rows, named after the arms, if there are any."""
    rows = tuple(filter(None, _published_rows(found, means)))
    if rows:
        yield Section(key=SELECTION, heading="published", rows=rows, measured=False)


def _published_rows(found: StudyResults, means: pd.DataFrame) -> Iterator[Row | None]:
    done: set[Key] = set()
    alone = single_tasks(means)
    singles: list[PublishedRow] = []
    for arm in found.arms:
        if arm.evidence is None:
            continue
        comparison = arm.evidence.comparison
        published = PublishedRows.of(comparison)
        if comparison.key not in done and comparison.base is not None:
            base = published.row(comparison.base)
            title = comparison.names.of("base")
            yield published.printed("base", title, [base]) if base else None
        done.add(comparison.key)
        for label in arm.labels:
            row = published.row(label)
            if row is not None:
                yield published.printed(arm.row_name(label), arm.row_title(label), [row])
                singles += [row] if arm.row_name(label) in alone.values() else []
        if len(singles) == len(alone) > 1:
            yield published.printed(TOGETHER, TOGETHER, singles)
            singles = []


def _state(arm: ArmResults) -> str:
    return "not computed yet" if arm.evidence is None else "no numbers"


def _rows(found: StudyResults, rule: StepRule, means: pd.DataFrame) -> Iterator[Row]:
    """Yield the rows of the arms, each comparison's row of Base before its first arm."""
    several = len(found.comparisons) > 1
    done: set[Key] = set()
    for arm in found.arms:
        if arm.evidence is None:
            continue
        if arm.evidence.comparison.key not in done:
            done.add(arm.evidence.comparison.key)
            yield from _base_row(arm.evidence, rule, f"{arm.arm.label}: " if several else "")
        for label in arm.labels:
            own = means[(means["arm"] == arm.arm.label) & (means["label"] == label)]
            if len(own):
                yield Row(
                    label=arm.row_name(label),
                    title=arm.row_title(label),
                    cells=_cells(arm, rule, label, own),
                )
    yield from _summary(found, rule, means)


def _base_row(evidence: Evidence, rule: StepRule, arm: str) -> Iterator[Row]:
    """Yield the row of Base, if it has numbers.

    Args:
        arm: what its name begins with.
    """
    means = evidence.estimates(rule.name)
    own = means[means["label"] == evidence.comparison.base]
    own = own[own["quantity"].isin(list(TASKS))]
    if len(own):
        yield Row(
            label=f"{arm}base",
            title=f"{arm}{evidence.comparison.names.of('base')}",
            cells={**_numbers(own), DELTA_KEY: Number(mean=0.0)},
        )


def _numbers(own: pd.DataFrame) -> dict[str, Cell]:
    return {quantity_key(row.quantity): number(row.mean, row.sd) for row in named_rows(own)}


def _cells(arm: ArmResults, rule: StepRule, label: str, own: pd.DataFrame) -> dict[str, Cell]:
    """Return the cells of a row; bold and marks are against Base."""
    assert arm.evidence is not None  # it has the row
    shown = own[own["quantity"].isin([*TASKS, DELTA])]
    changes = shown[["quantity"]].assign(mean=shown["change_mean"], p_holm=shown["change_p_holm"])
    cells: dict[str, Cell] = {}
    for row in named_rows(shown.assign(verdict=verdicts(changes))):
        value = number(row.mean, row.sd, row.verdict)
        cells[quantity_key(row.quantity)] = with_interval(value, row.low, row.high)
    return cells | PublishedRows.of(arm.evidence.comparison).cells(rule, label)


def _summary(found: StudyResults, rule: StepRule, means: pd.DataFrame) -> Iterator[Row]:
    """Yield a row with the score of each task from the arm that has it alone, if there are any.

    Its Delta_TTT is the mean of those of these arms.
    """
    alone = single_tasks(means)
    if len(alone) < 2 or len(found.comparisons) > 1:
        return
    cells: dict[str, Cell] = {}
    for task, row in alone.items():
        score = means[(means["row"] == row) & (means["quantity"] == task)]
        cells |= _numbers(score)
    sides = [
        evidence.side(label, rule.name)
        for arm in found.arms
        for label, evidence in arm.by_label.items()
        if arm.row_name(label) in alone.values()
    ]
    for delta in named_rows(mean_delta(sides)):
        value = number(delta.mean, delta.sd)
        cells[DELTA_KEY] = with_interval(value, delta.low, delta.high)
    yield Row(label=TOGETHER, cells=cells)


def single_tasks(means: pd.DataFrame) -> dict[str, str]:
    """Map each task to the row that has this task alone; empty if rows share such a task."""
    scores = means[means["quantity"].isin(list(TASKS))].drop_duplicates(["row", "quantity"])
    tasks = scores.groupby("row", sort=False)["quantity"]
    alone = [(found.iloc[0], str(row)) for row, found in tasks if len(found) == 1]
    return dict(alone) if len(dict(alone)) == len(alone) else {}
