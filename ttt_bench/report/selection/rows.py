"""The rows of controls in tables, which a report may leave out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ttt_bench.report.tables import Note, Section, Table
from ttt_bench.stats.comparison import Comparison


@dataclass(frozen=True)
class ShownRows:
    """Which rows the tables of a report have.

    Attributes:
        controls: whether controls have rows.
        note: which rows are shown, in words; empty: all.
    """

    controls: bool = True
    note: str = ""

    def of(self, table: Table, comparison: Comparison) -> Table:
        """Return a table of a comparison with the rows that are shown, and a note on them."""
        kept = table if self.controls else without_rows(table, comparison.controls)
        notes = (Note("Shown", self.note, tuple(self.note.split(". "))),) if self.note else ()
        return replace(kept, notes=(*notes, *kept.notes))

    def drawn(self, comparison: Comparison) -> Comparison:
        """Return a comparison with the rows that figures show."""
        return comparison if self.controls else comparison.without_controls()


EVERY_ROW = ShownRows()


def without_rows(table: Table, labels: Collection[str]) -> Table:
    """Return a table without some rows of this run, and without sections that become empty."""
    sections = (_without(section, labels) for section in table.sections)
    return replace(table, sections=tuple(section for section in sections if section.rows))


def _without(section: Section, labels: Collection[str]) -> Section:
    rows = tuple(row for row in section.rows if row.label not in labels)
    return replace(section, rows=rows)
