"""Tables as rich text, laid out for the width of the console that shows them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from ttt_bench.report.tables import Column, Row, Table, row_texts


class ConsoleTable:
    """A rich renderable of a table and its notes.

    Where one line a row is too wide for the console, the standard deviations go below the means;
    where that is still too wide, secondary columns are left out, and named.
    """

    def __init__(self, table: Table, notes: bool = True) -> None:
        self.table = table
        self.notes = notes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        every = columns = self.table.printed
        secondary = [column for column in every if column.secondary]
        shown = rich_table(self.table, every, stacked=False)
        for left_out in range(len(secondary) + 1):
            if (
                Measurement.get(console, options.update(max_width=10_000), shown).maximum
                <= options.max_width
            ):
                break
            columns = tuple(column for column in every if column not in secondary[:left_out])
            shown = rich_table(self.table, columns, stacked=True)
        yield Group(
            Text(self.table.title, style="bold"), Text(self.table.subtitle, style="dim"), shown
        )
        hidden = [" ".join(column.head) for column in every if column not in columns]
        notes = list(self.table.notes) if self.notes else []
        if hidden:
            notes.insert(0, ("Left out for width", ", ".join(hidden)))
        for about, text in notes:
            yield Padding(Text.assemble((f"{about}. ", "bold"), (text, "dim")), (0, 0, 0, 2))


def rich_table(table: Table, columns: Sequence[Column], stacked: bool) -> RichTable:
    """The table alone with these columns, without title and notes."""
    shown = RichTable(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0) if stacked else (0, 1),
        show_edge=False,
    )
    shown.add_column(table.corner, justify="left", min_width=12, overflow="fold")
    for column in columns:
        # words may break, numbers may not
        most = 16 if column.wraps else None
        shown.add_column(
            "\n".join(column.lines), justify="right", no_wrap=not column.wraps, max_width=most
        )
    for section in table.sections:
        shown.add_row(Text(section.heading, style="italic"), *[""] * len(columns))
        widths = _widths(section.rows, columns)
        for row in section.rows:
            cells = [
                _cell(*texts, width=width, stacked=stacked)
                for texts, width in zip(row_texts(row, columns), widths, strict=True)
            ]
            shown.add_row(Text(f"  {row.name}"), *cells)
        shown.add_section()
    return shown


def _widths(rows: Sequence[Row], columns: Sequence[Column]) -> list[int]:
    """The widest standard deviation of each column, so that the means stay aligned."""
    texts = [row_texts(row, columns) for row in rows]
    return [max((len(line[i][1]) for line in texts), default=0) for i in range(len(columns))]


def _cell(mean: str, sd: str, bold: bool, *, width: int, stacked: bool) -> Text:
    text = Text(mean, style="bold" if bold else "")
    if stacked:
        return text.append(f"\n±{sd}", style="not bold dim") if sd else text
    if width:
        text.append(f" ±{sd.rjust(width)}" if sd else " " * (width + 2), style="not bold dim")
    return text
