"""Marks of rows whose method or network was not checked, or failed the checks of the contract."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ttt_bench.report.frames import named_rows
from ttt_bench.report.tables import Note, Row, Section, Table
from ttt_bench.results.contract import Kind, State, Verdict
from ttt_bench.stats.comparison import Comparison

MARK = "‡"


def doubts(comparison: Comparison) -> dict[str, list[Verdict]]:
    """Map label to verdicts, for rows of a method or network that failed or was not checked.

    If the verdicts of a row's cells on one of the two differ, a failed one counts.
    """
    found: dict[str, dict[Kind, Verdict]] = {}
    for cell in named_rows(comparison.cells):
        for verdict in Verdict.of_manifest(cell.manifest):
            if verdict.state is State.PASSED:
                continue
            own = found.setdefault(cell.label, {})
            if verdict.kind not in own or verdict.state is State.FAILED:
                own[verdict.kind] = verdict
    return {label: list(own.values()) for label, own in found.items()}


def in_words(verdicts: Iterable[Verdict]) -> str:
    """Return verdicts as the column `contract` has them; empty for none."""
    return "; ".join(verdict.text for verdict in verdicts)


def marked(table: Table, comparison: Comparison) -> Table:
    """Return the table with marks on doubtful rows, and a note per method."""
    found = doubts(comparison)
    labels = [row.label for row in table.rows() if row.label in found]
    if not labels:
        return table
    sections = tuple(_marked_section(section, found) for section in table.sections)
    verdicts = [verdict for label in labels for verdict in found[label]]
    texts = dict.fromkeys(_explanation(comparison, verdict) for verdict in verdicts)
    short = (f"{MARK}: failed the checks of the contract, or was not checked",)
    notes = [Note(f"Contract {MARK}", text, short) for text in texts]
    return replace(table, sections=sections, notes=(*table.notes, *notes))


def _explanation(comparison: Comparison, verdict: Verdict) -> str:
    printed = comparison.names.of(verdict.name) if verdict.kind is Kind.METHOD else ""
    return verdict.explanation(printed)


def _marked_section(section: Section, found: dict[str, list[Verdict]]) -> Section:
    if not section.measured:
        return section
    return replace(section, rows=tuple(_marked_row(row, found) for row in section.rows))


def _marked_row(row: Row, found: dict[str, list[Verdict]]) -> Row:
    if row.label not in found:
        return row
    return replace(row, mark=row.mark + MARK, contract=in_words(found[row.label]))
