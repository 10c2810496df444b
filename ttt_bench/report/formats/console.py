"""Tables as rich text, laid out for the width of the console that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from ttt_bench.report.formats.cells import Printed, printed_row
from ttt_bench.report.tables import Column, Note, Section, Table

Columns = tuple[Column, ...]

WORDS_WIDTH = 16
"""Widest column of words, in characters."""


class ConsoleTable:
    """A rich renderable of a table and its notes.

    If one line per row is too wide for the console, spreads are printed below the means. If that
    is still too wide, secondary columns are omitted and named in a note.
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns, shown = self._fitting(console, options)
        title = Text(self.table.title, style="bold")
        yield Group(title, Text(self.table.subtitle, style="dim"), shown)
        for note in self._notes(columns):
            text = Text.assemble((f"{note.about}. ", "bold"), (note.text, "dim"))
            yield Padding(text, (0, 0, 0, 2))

    def _fitting(self, console: Console, options: ConsoleOptions) -> tuple[Columns, RichTable]:
        """Return the first layout that fits the console, or the narrowest."""
        for columns, stacked in self._layouts():
            shown = rich_table(self.table, columns, stacked=stacked)
            unlimited = options.update(max_width=10_000)
            if Measurement.get(console, unlimited, shown).maximum <= options.max_width:
                break
        return columns, shown

    def _layouts(self) -> Iterator[tuple[Columns, bool]]:
        """Yield (columns, whether spreads are below means), from the widest to the narrowest."""
        every = self.table.printed
        secondary = [column for column in every if column.secondary]
        yield every, False
        for omitted in range(len(secondary) + 1):
            yield tuple(c for c in every if c not in secondary[:omitted]), True

    def _notes(self, columns: Columns) -> list[Note]:
        """Return the table's notes, after a note that names the omitted columns, if any."""
        every = self.table.printed
        omitted = [
            " ".join(filter(None, (column.group, *column.head)))
            for column in every
            if column not in columns
        ]
        if not omitted:
            return list(self.table.notes)
        return [Note("Left out for width", ", ".join(omitted)), *self.table.notes]


def rich_table(table: Table, columns: Sequence[Column], *, stacked: bool) -> RichTable:
    """Return the table with these columns, without its title and notes.

    Args:
        stacked: print spreads below means instead of next to them.
    """
    shown = RichTable(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0) if stacked else (0, 1),
        show_edge=False,
    )
    shown.add_column(table.corner, justify="left", min_width=12, overflow="fold")
    for column in columns:
        _add_column(shown, column)
    for section in table.printed_sections:
        _add_section(shown, section, columns, stacked=stacked)
    return shown


def _add_column(shown: RichTable, column: Column) -> None:
    """Add a column to a rich table: words may wrap, numbers may not."""
    shown.add_column(
        "\n".join(column.full_lines),
        justify="right",
        no_wrap=not column.wraps,
        max_width=WORDS_WIDTH if column.wraps else None,
    )


def _add_section(
    shown: RichTable, section: Section, columns: Sequence[Column], *, stacked: bool
) -> None:
    shown.add_row(Text(section.heading, style="italic"), *[""] * len(columns))
    printed = [printed_row(row, columns) for row in section.rows]
    widths = _spread_widths(printed, len(columns))
    for row, cells in zip(section.rows, printed, strict=True):
        pairs = zip(cells, widths, strict=True)
        texts = [_cell(cell, width=width, stacked=stacked) for cell, width in pairs]
        shown.add_row(Text(f"  {row.name}"), *texts)
    shown.add_section()


def _spread_widths(rows: Sequence[Sequence[Printed]], columns: int) -> list[int]:
    """Return the width of the widest spread of each column."""
    widths = [0] * columns
    for row in rows:
        widths = [max(width, len(cell.spread)) for width, cell in zip(widths, row, strict=True)]
    return widths


def _cell(cell: Printed, *, width: int, stacked: bool) -> Text:
    """Return a cell; spreads next to the means are padded to `width`, to align the means."""
    text = Text(cell.text, style="bold" if cell.bold else "")
    if stacked:
        return text.append(f"\n{cell.spread}", style="not bold dim") if cell.spread else text
    if width:
        text.append(f" {cell.spread.rjust(width)}", style="not bold dim")
    return text
