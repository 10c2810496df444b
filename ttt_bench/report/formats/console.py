"""Tables as rich text, laid out for the width of the console that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from ttt_bench.report.formats.cells import Printed, printed_row
from ttt_bench.report.tables import Column, Note, Row, Section, Table

WORDS_WIDTH = 16
"""Widest column of words, in characters."""
LABEL_WIDTH = 26
"""Widest label of a row on one line, in characters."""
INDENT = "  "
"""The space before the label of a row."""


class Spread(Enum):
    """Where deviations and intervals are printed."""

    NEXT = "next to the means"
    BELOW = "below the means"
    OMITTED = "nowhere"


class _Layout(NamedTuple):
    columns: tuple[Column, ...]
    spread: Spread


class ConsoleTable:
    """A rich renderable of a table and its notes.

    If one line per row is too wide for the console, spreads are printed below the means. If that
    is still too wide, secondary columns are omitted, and spreads after them; a note names both. The
    labels of rows and numbers are never shortened: print it with `crop=False`.
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        layout, shown = self._fitting(console, options)
        title = Text(self.table.title, style="bold")
        yield Group(title, Text(self.table.subtitle, style="dim"), shown)
        for note in self._notes(layout):
            text = Text.assemble((f"{note.about}. ", "bold"), (note.text, "dim"))
            yield Padding(text, (0, 0, 0, 2))

    def _fitting(self, console: Console, options: ConsoleOptions) -> tuple[_Layout, RichTable]:
        """Return the first layout that fits the console, or the narrowest."""
        for layout in self._layouts():
            shown = _rich_table(self.table, layout)
            unlimited = options.update(max_width=10_000)
            if Measurement.get(console, unlimited, shown).maximum <= options.max_width:
                break
        return layout, shown

    def _layouts(self) -> Iterator[_Layout]:
        """Yield layouts from the widest to the narrowest."""
        every = self.table.printed
        # differences, which have intervals, are omitted last
        secondary = sorted((c for c in every if c.secondary), key=lambda column: column.intervals)
        yield _Layout(every, Spread.NEXT)
        for omitted in range(len(secondary) + 1):
            columns = tuple(c for c in every if c not in secondary[:omitted])
            yield _Layout(columns, Spread.BELOW)
        yield _Layout(columns, Spread.OMITTED)

    def _notes(self, layout: _Layout) -> list[Note]:
        """Return the table's notes, after a note that names what is omitted, if anything."""
        every = self.table.printed
        omitted = [
            " ".join(filter(None, (column.group, *column.head)))
            for column in every
            if column not in layout.columns
        ]
        if layout.spread == Spread.OMITTED:
            omitted.append("deviations and intervals")
        if not omitted:
            return list(self.table.notes)
        return [Note("Left out for width", ", ".join(omitted)), *self.table.notes]


def _rich_table(table: Table, layout: _Layout) -> RichTable:
    """Return the table without its title and notes."""
    shown = RichTable(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1) if layout.spread == Spread.NEXT else (0, 1, 0, 0),
        show_edge=False,
    )
    # headings of sections and long labels may take several lines
    rows = (row for section in table.printed_sections for row in section.rows)
    labels = [len(_label(row)) for row in rows]
    width = min(LABEL_WIDTH, max([12, len(table.corner), *labels]))
    shown.add_column(table.corner, justify="left", width=width, overflow="fold")
    for column in layout.columns:
        _add_column(shown, column)
    for section in table.printed_sections:
        _add_section(shown, section, layout)
    return with_whole_numbers(shown)


def with_whole_numbers(shown: RichTable) -> RichTable:
    """Return the table after its columns got the width of their numbers, or of their words.

    On a narrow console, rich shortens numbers and drops columns of words; such a table is wider
    than the console instead. Words longer than `WORDS_WIDTH`, such as paths, may be broken.
    """
    for column in shown.columns:
        texts = [str(column.header), *map(str, column.cells)]
        lines = [line for text in texts for line in text.splitlines()]
        words = [word for line in lines for word in line.split()]
        widest = max(map(cell_len, lines if column.no_wrap else words), default=0)
        column.min_width = widest if column.no_wrap else min(widest, WORDS_WIDTH)
    return shown


def _label(row: Row) -> str:
    return INDENT + row.name


def _add_column(shown: RichTable, column: Column) -> None:
    """Add a column to a rich table: words may wrap, numbers may not."""
    shown.add_column(
        "\n".join(column.full_lines),
        justify="right",
        no_wrap=not column.wraps,
        max_width=WORDS_WIDTH if column.wraps else None,
    )


def _add_section(shown: RichTable, section: Section, layout: _Layout) -> None:
    columns = layout.columns
    shown.add_row(Text(section.heading, style="italic"), *[""] * len(columns))
    printed = [printed_row(row, columns) for row in section.rows]
    widths = _spread_widths(printed, len(columns))
    for row, cells in zip(section.rows, printed, strict=True):
        pairs = zip(cells, widths, strict=True)
        texts = [_cell(cell, width, layout.spread) for cell, width in pairs]
        shown.add_row(Text(_label(row)), *texts)
    shown.add_section()


def _spread_widths(rows: Sequence[Sequence[Printed]], columns: int) -> list[int]:
    """Return the width of the widest spread of each column."""
    widths = [0] * columns
    for row in rows:
        widths = [max(width, len(cell.spread)) for width, cell in zip(widths, row, strict=True)]
    return widths


def _cell(cell: Printed, width: int, spread: Spread) -> Text:
    """Return a cell; spreads next to the means are padded to `width`, to align the means."""
    text = Text(cell.text, style="bold" if cell.bold else "")
    if spread == Spread.OMITTED:
        return text
    if spread == Spread.BELOW:
        return text.append(f"\n{cell.spread}", style="not bold dim") if cell.spread else text
    if width:
        text.append(f" {cell.spread.rjust(width)}", style="not bold dim")
    return text
