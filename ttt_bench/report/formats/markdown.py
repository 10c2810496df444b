"""Tables as GitHub-flavoured Markdown, padded to be readable as plain text too."""

from __future__ import annotations

from collections.abc import Sequence

from ttt_bench.report.formats.cells import Printed, printed_row
from ttt_bench.report.tables import Row, Section, Table

Line = list[str]
"""The cells of a line of the table."""


def to_markdown(table: Table) -> str:
    """Return a table as Markdown: title, subtitle, the table, and its notes as a list."""
    notes = [f"- **{note.about}.** {note.text}" for note in table.notes]
    lines = [f"### {table.title}", "", table.subtitle, "", *_body(table), "", *notes]
    return "\n".join(lines).rstrip() + "\n"


def _body(table: Table) -> list[str]:
    heads = [" ".join(column.full_lines) for column in table.printed]
    lines = [[table.corner, *heads]]
    for section in table.printed_sections:
        lines += _section(section, table)
    escaped = [_escaped(line) for line in lines]
    widths = [max(3, *map(len, column)) for column in zip(*escaped, strict=True)]
    first, *others = [_padded(line, widths) for line in escaped]
    return [first, _rule(widths), *others]


def _section(section: Section, table: Table) -> list[Line]:
    heading = [f"**{section.heading}**", *[""] * len(table.printed)]
    return [heading, *(_row(row, table) for row in section.rows)]


def _row(row: Row, table: Table) -> Line:
    return [row.name, *map(_cell, printed_row(row, table.printed))]


def _cell(cell: Printed) -> str:
    text = f"**{cell.text}**" if cell.bold else cell.text
    return f"{text} {cell.spread}" if cell.spread else text


def _escaped(line: Line) -> Line:
    return [text.replace("|", "\\|") for text in line]


def _padded(line: Line, widths: Sequence[int]) -> str:
    """Return a line with the label on the left of its cell and the numbers on the right."""
    label = line[0].ljust(widths[0])
    others = zip(line[1:], widths[1:], strict=True)
    return _joined([label, *(text.rjust(width) for text, width in others)])


def _rule(widths: Sequence[int]) -> str:
    return _joined(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])


def _joined(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
