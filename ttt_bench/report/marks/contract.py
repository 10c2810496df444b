"""Marks of the rows whose method was not checked, or failed the checks of the contract."""

from __future__ import annotations

from dataclasses import replace

from ttt_bench.report.frames import named_rows
from ttt_bench.report.tables import Note, Row, Section, Table
from ttt_bench.results.contract import State, Verdict
from ttt_bench.stats.comparison import Comparison

MARK = "‡"


def doubts(comparison: Comparison) -> dict[str, Verdict]:
    """Map label to verdict, for rows of a method that failed the checks or was not checked.

    If the verdicts of a row's cells differ, a failed one counts.
    """
    found: dict[str, Verdict] = {}
    for cell in named_rows(comparison.cells):
        verdict = Verdict.of_manifest(cell.manifest)
        if verdict is None or verdict.state is State.PASSED:
            continue
        if cell.label not in found or verdict.state is State.FAILED:
            found[cell.label] = verdict
    return found


def marked(table: Table, comparison: Comparison) -> Table:
    """Return the table with marks on doubtful rows, and a note per method."""
    found = doubts(comparison)
    labels = [row.label for row in table.rows() if row.label in found]
    if not labels:
        return table
    sections = tuple(_marked_section(section, found) for section in table.sections)
    texts = {label: _explanation(comparison, found[label], label) for label in labels}
    notes = [Note(f"Contract {MARK}", text) for text in dict.fromkeys(texts.values())]
    return replace(table, sections=sections, notes=(*table.notes, *notes))


def _explanation(comparison: Comparison, verdict: Verdict, label: str) -> str:
    method = comparison.methods[label]
    return verdict.explanation(method, comparison.names.of(method))


def _marked_section(section: Section, found: dict[str, Verdict]) -> Section:
    if not section.measured:
        return section
    return replace(section, rows=tuple(_marked_row(row, found) for row in section.rows))


def _marked_row(row: Row, found: dict[str, Verdict]) -> Row:
    if row.label not in found:
        return row
    return replace(row, mark=row.mark + MARK, contract=found[row.label].text)
