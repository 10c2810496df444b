"""The published numbers next to a comparison: two columns, a section of rows, and their notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.columns import DELTA_KEY, DELTA_NO_EDGE_KEY, task_key
from ttt_bench.report.notes.published import published_notes
from ttt_bench.report.tables import Cell, Column, Note, Number, Row, Section
from ttt_bench.results.published import PublishedNumber, PublishedRow, PublishedTable, for_pair
from ttt_bench.results.published.numbers import decimals
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA, StepRule
from ttt_bench.stats.summary import DELTA_NO_EDGE

SELECTION = "published"
"""The key of the section of published rows, and the selection of their records."""

DELTA_RECOMPUTED = "delta_ttt_recomputed"
"""The quantity of Delta_TTT recomputed from the printed means of the measured tasks."""

PUBLISHED = Column(
    key="published_delta_ttt_percent", head=("published", "Delta_TTT %"), higher_is_better=True
)
ON_THESE_TASKS = Column(
    key="published_delta_ttt_on_these_tasks_percent",
    head=("published, on", "these tasks %"),
    higher_is_better=True,
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
        return PublishedRows(comparison, for_pair(comparison.key.pair, comparison.key.architecture))

    @property
    def rows(self) -> list[PublishedRow]:
        """Return the published rows of the methods and ablations that were run."""
        if self.table is None:
            return []
        methods, labels = set(self.comparison.cells["method"]), set(self.comparison.labels)
        return [
            row
            for row in self.table.rows
            if row.label in labels or (row.method in methods and not row.settings)
        ]

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return the columns of published Delta_TTT, for a table that has a Delta_TTT."""
        if not any(self._delta(row) for row in self.rows):
            return ()
        return (PUBLISHED, RECOMPUTED) if self._same_tasks else (ON_THESE_TASKS,)

    @property
    def notes(self) -> list[Note]:
        """Return the notes on the published numbers."""
        return published_notes(self.comparison, self.table, self.rows)

    def row(self, label: str) -> PublishedRow | None:
        """Return the published row of a measured row; None without one."""
        row = self.table.row(label) if self.table else None
        known = row is not None and row.method == self.comparison.methods[label]
        return row if known else None

    def printed(self, name: str, title: str, rows: Sequence[PublishedRow]) -> Row | None:
        """Return the numbers of published rows as one row with their source.

        It is None if they have none.

        Args:
            name: its name in CSV.
            title: its name in print.
            rows: the rows.
        """
        cells: dict[str, Cell] = {}
        for row in rows:
            cells |= self._row(row).cells
        if not cells:
            return None
        source = rows[0].source
        return Row(label=f"{name} [{source}]", title=f"{title} [{source}]", cells=cells)

    def cells(self, rule: StepRule, label: str) -> dict[str, Cell]:
        """Return the cells of `columns` for a measured row.

        Only rows with published settings have them, under the papers' step rule.
        """
        row = self.row(label) if rule.published else None
        delta = self._delta(row) if row else None
        if row is None or delta is None:
            return {}
        if not self._same_tasks:
            return {ON_THESE_TASKS.key: delta}
        again = row.delta_on(self.comparison.tasks)
        return {PUBLISHED.key: delta} | _cells({RECOMPUTED.key: again})

    def sections(self) -> tuple[Section, ...]:
        """Return the section with the published rows, if any."""
        rows = tuple(self._row(row) for row in self.rows if self._numbers(row))
        if self.table is None or not rows:
            return ()
        detail = self.table.name
        if not self._same_tasks:
            detail += f"; Delta_TTT recomputed on {', '.join(self.comparison.tasks)}"
        section = Section(
            key=SELECTION, heading="published", rows=rows, detail=detail, measured=False
        )
        return (section,)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield a record per published number: selection, label, quantity, mean, sd and source.

        The quantities are the measured tasks, Delta_TTT as the table shows it, and Delta_TTT
        recomputed from the printed means with and without edge.
        """
        for row in self.rows:
            shared = {
                "selection": SELECTION,
                "label": row.label,
                "source": row.source,
                "contract": None,  # a verdict is on the method of this run
            }
            for quantity, number in self._numbers(row).items():
                found = {"quantity": quantity, "mean": number.mean, "sd": number.finite_sd}
                yield {**shared, **found}

    @property
    def _same_tasks(self) -> bool:
        """Return whether the measured tasks are those of the published Delta_TTT."""
        return self.table is not None and set(self.comparison.tasks) == set(self.table.tasks)

    def _delta(self, row: PublishedRow) -> Number | None:
        """Return Delta_TTT as printed, or recomputed if other tasks were measured."""
        if not self._same_tasks:
            return _optional(row.delta_on(self.comparison.tasks))
        mark = "†" if row.flags else ""
        return _number(row.delta, 2, mark) if row.delta else None

    def _numbers(self, row: PublishedRow) -> dict[str, Number]:
        """Map quantity to number, for every quantity that the row has."""
        tasks = self.comparison.tasks
        found: dict[str, Number | None] = {}
        for task in tasks:
            if task in row.scores:
                found[task] = _number(row.scores[task], 2 if metrics_of(task).primary.unit else 4)
        found[DELTA] = self._delta(row)
        found[DELTA_RECOMPUTED] = _optional(row.delta_on(tasks))
        second = tuple(task for task in tasks if not metrics_of(task).second_delta_without)
        if second != tasks:
            found[DELTA_NO_EDGE] = _optional(row.delta_on(second))
        return {quantity: number for quantity, number in found.items() if number is not None}

    def _row(self, row: PublishedRow) -> Row:
        keys = {DELTA: DELTA_KEY, DELTA_NO_EDGE: DELTA_NO_EDGE_KEY}
        keys |= {DELTA_RECOMPUTED: RECOMPUTED.key}
        keys |= {task: task_key(task) for task in self.comparison.tasks}
        numbers = self._numbers(row)
        assert self.table is not None  # it has the row
        source = row.name if row.source == self.table.name else row.source
        place = f" [{source}]" if source else ""
        return Row(
            label=f"{row.label}{place}",
            title=f"{self.comparison.names.of(row.label)}{place}",
            cells={keys[name]: number for name, number in numbers.items()},
        )


def _number(number: PublishedNumber, usual: int, mark: str = "") -> Number:
    """Return a printed number, with at least the digits of the paper.

    Args:
        usual: digits after the point that a column has at most; more are printed if the paper does.
    """
    digits = decimals(number.mean)
    return Number(
        mean=number.value,
        sd=number.spread,
        printed_sd=number.sd,
        mark=mark,
        decimals=digits if digits > usual else None,
    )


def _optional(mean: float | None) -> Number | None:
    return None if mean is None else Number(mean=mean)


def _cells(values: dict[str, float | None]) -> dict[str, Cell]:
    return {key: Number(mean=value) for key, value in values.items() if value is not None}
