"""Marks and notes of the rows whose cells were computed under different conditions."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ttt_bench.report.tables import Note, Section, Table
from ttt_bench.results.method_names import MethodNames
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.conditions import (
    Difference,
    Seeds,
    differences,
    shared_conditions,
    unrecorded,
)

MARK = "§"
_SHARED = {
    "kernels": "with {} kernels",
    "device": "on {}",
    "number of threads": "number of threads {}",
    "version of torch": "torch {}",
}
"""Conditions that are shown although all cells share them, and their words."""


def with_conditions(table: Table, comparison: Comparison) -> Table:
    """Return the table with a note on the shared conditions and one per condition that differs.

    Rows are marked whose mean is over seeds that differ in a condition.
    """
    found = differences(comparison.done)
    mixed = {label for difference in found for label in difference.mixed}
    notes = [
        *_shared_note(comparison),
        *(_note(difference, comparison.names) for difference in found),
        *_unrecorded_note(comparison),
    ]
    sections = tuple(_marked(section, mixed) for section in table.sections) if mixed else None
    return replace(table, sections=sections or table.sections, notes=(*table.notes, *notes))


def _shared_note(comparison: Comparison) -> list[Note]:
    """Return the note on the conditions that all cells share, if there are any.

    Example: 'with deterministic kernels, on cpu, number of threads 2, torch 2.8.0'.
    """
    shared = shared_conditions(comparison.done)
    words = [text.format(shared[name]) for name, text in _SHARED.items() if name in shared]
    return [Note("Computed", ", ".join(words))] if words else []


def _marked(section: Section, labels: Collection[str]) -> Section:
    if not section.measured:
        return section
    rows = tuple(
        replace(row, mark=row.mark + MARK) if row.label in labels else row for row in section.rows
    )
    return replace(section, rows=rows)


def _note(difference: Difference, names: MethodNames) -> Note:
    """Return the note on a condition.

    Example: 'cpu: Base, TENT seed 0; NVIDIA H200: TENT seeds 1, 2. The numbers of TENT are means
    over seeds that differ in it. ...'.
    """
    mixed = difference.mixed
    values = [
        f"{value}: {_cells(seeds, mixed, names)}" for value, seeds in difference.cells.items()
    ]
    text = "; ".join(values)
    if mixed:
        text += f". The numbers of {names.listed(mixed)} are means over seeds that differ in it"
    text += ". A difference between these cells can come from it"
    if not mixed:
        return Note(f"Different {difference.name}", text)
    short = f"{MARK}: seeds differ in {difference.name}"
    return Note(f"Different {difference.name} {MARK}", text, (short,))


def _cells(seeds: Seeds, mixed: Collection[str], names: MethodNames) -> str:
    """Name cells by row, with their seeds if the others of the label differ."""
    words = []
    for label, found in seeds.items():
        word = "seed" if len(found) == 1 else "seeds"
        own = f" {word} {', '.join(map(str, found))}" if label in mixed else ""
        words.append(f"{names.of(label)}{own}")
    return ", ".join(words)


def _unrecorded_note(comparison: Comparison) -> list[Note]:
    labels = list(dict.fromkeys(unrecorded(comparison.done)))
    if not labels:
        return []
    names = comparison.names.listed(labels)
    text = f"the cells of {names} state no device, precision, versions or code"
    return [Note("Not recorded", text)]
