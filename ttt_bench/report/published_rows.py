"""The published numbers next to a comparison: two columns, a section of rows, and their notes."""

from __future__ import annotations

from dataclasses import dataclass

from ttt_bench.report.columns import DELTA_KEY, task_key
from ttt_bench.report.notes.published import published_notes
from ttt_bench.report.tables import Cell, Column, Note, Number, Row, Section
from ttt_bench.results.published import PublishedRow, PublishedTable, for_pair
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import StepRule

PUBLISHED = Column(
    key="published_delta_ttt_percent", head=("published", "Delta_TTT %"), higher_is_better=True
)
RECOMPUTED = Column(
    key="published_delta_ttt_recomputed_percent", head=("recomputed",), printed=False
)


@dataclass(frozen=True)
class PublishedRows:
    """What is published for the pair of a comparison; `table` is None if nothing is."""

    comparison: Comparison
    table: PublishedTable | None

    @staticmethod
    def of(comparison: Comparison) -> PublishedRows:
        """Return the published rows of a comparison."""
        return PublishedRows(comparison, for_pair(comparison.key.pair))

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return the columns of published Delta_TTT, for a table that has a Delta_TTT."""
        return (PUBLISHED, RECOMPUTED) if self.table else ()

    @property
    def notes(self) -> list[Note]:
        """Return the notes on the published numbers."""
        return published_notes(self.comparison, self.table)

    def cells(self, rule: StepRule, label: str) -> dict[str, Cell]:
        """Return the cells of `columns` for a measured row.

        Only a method with its plain settings has them, under the papers' step rule.
        """
        if self.table is None or not rule.published:
            return {}
        row = self.table.row(label)
        if row is None or self.comparison.methods[label] != label:
            return {}
        return {PUBLISHED.key: _printed_delta(row), RECOMPUTED.key: Number(mean=row.recomputed)}

    def sections(self) -> tuple[Section, ...]:
        """Return the section with the published rows of the methods that were run, if any."""
        if self.table is None:
            return ()
        methods = set(self.comparison.cells["method"])
        rows = tuple(_row(row) for row in self.table.rows if row.method in methods)
        return (Section(key="published", heading="published", rows=rows, detail=self.table.name),)


def _printed_delta(row: PublishedRow) -> Number:
    """Return a published Delta_TTT, with a mark if it needs a note."""
    mean, sd = row.delta
    return Number(mean=mean, sd=sd, mark="†" if row.flag else "")


def _row(row: PublishedRow) -> Row:
    cells: dict[str, Cell] = {}
    for task, (mean, sd) in row.scores.items():
        cells[task_key(task)] = Number(mean=mean, sd=sd)
    cells[DELTA_KEY] = _printed_delta(row)
    cells[RECOMPUTED.key] = Number(mean=row.recomputed)
    return Row(label=row.method, cells=cells)
