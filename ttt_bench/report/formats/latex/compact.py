"""The shorter tables that fit one column of a two-column paper."""

from __future__ import annotations

from dataclasses import replace

from ttt_bench.report.columns import DELTA_KEY, task_key
from ttt_bench.report.sync_table import MEASURED
from ttt_bench.report.tables import Cell, Column, Number, Row, Section, Table
from ttt_bench.stats.synchronisation import SCALE_FREE
from ttt_bench.tasks import TASKS

COMPACT = {
    "main": (DELTA_KEY, *map(task_key, TASKS)),
    "sync": tuple(MEASURED[measure].key for measure in SCALE_FREE),
}
"""Map the name of a table to the columns of its shorter form."""


def compact(name: str, table: Table) -> Table | None:
    """Return the shorter form of a table: the rows of its first section, and few columns.

    Only numbers in columns of intervals keep their spreads. None if the table has no shorter form.
    """
    keys = COMPACT.get(name, ())
    found = [column for column in table.printed if column.key in keys]
    columns = tuple(sorted(found, key=lambda column: keys.index(column.key)))
    if not columns:
        return None
    sections = tuple(_section(section, columns) for section in table.printed_sections[:1])
    return replace(table, columns=columns, sections=sections)


def _section(section: Section, columns: tuple[Column, ...]) -> Section:
    return replace(section, rows=tuple(_row(row, columns) for row in section.rows))


def _row(row: Row, columns: tuple[Column, ...]) -> Row:
    shown = {column.key: column for column in columns if column.key in row.cells}
    cells = {key: _cell(row.cells[key], column) for key, column in shown.items()}
    return replace(row, cells=cells)


def _cell(cell: Cell, column: Column) -> Cell:
    if isinstance(cell, Number) and not column.intervals:
        return replace(cell, sd=None, printed_sd="")
    return cell
