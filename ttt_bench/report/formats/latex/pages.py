"""The rows of a table in LaTeX, divided among pages."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ttt_bench.report.formats.latex.entries import entries
from ttt_bench.report.formats.latex.layout import Layout
from ttt_bench.report.formats.latex.packing import packed
from ttt_bench.report.formats.latex.widths import lines_of
from ttt_bench.report.tables import Row, Section

LEADING = 1.15
"""Distance of two lines relative to the size of the type."""
RULE = 6.0
"""Height of a rule with the space around it, in points."""
BETWEEN = 1.0
"""Additional space between rows, in points."""
CAPTION = 10.0
"""Size of a caption's type, in points."""


def pages(layout: Layout, caption: str) -> list[Layout]:
    """Return the layout with the sections of each page; a long section takes several."""
    limit = layout.space.height - _outside(layout, caption)
    sections = layout.table.printed_sections
    pieces = [piece for section in sections for piece in _pieces(layout, section, limit)]
    found = packed(pieces, partial(_section_height, layout), limit)
    return [
        replace(layout, table=replace(layout.table, sections=tuple(sections))) for sections in found
    ]


def _pieces(layout: Layout, section: Section, limit: float) -> list[Section]:
    """Return a section, divided if it is higher than a page."""
    free = limit - _heading_height(layout)
    parts = packed(section.rows, partial(_row_height, layout), free)
    return [replace(section, rows=tuple(rows)) for rows in parts]


def _outside(layout: Layout, caption: str) -> float:
    """Return the height of caption, heads and rules."""
    lines = len(lines_of(caption, CAPTION, layout.space.width))
    heads = max(len(track.heads) for track in layout.tracks) + 1
    return lines * CAPTION * 1.2 + 3 * CAPTION + _line(layout, heads) + 3 * RULE


def _section_height(layout: Layout, section: Section) -> float:
    rows = sum(_row_height(layout, row) for row in section.rows)
    return rows + _heading_height(layout)


def _heading_height(layout: Layout) -> float:
    return RULE + _line(layout, 1)


def _row_height(layout: Layout, row: Row) -> float:
    """Return the height of a row: its longest text, and the spreads if they are below."""
    cells = entries(row, [track.column for track in layout.tracks])
    texts = [_lines(layout, row.head, layout.label)]
    texts += [
        _lines(layout, cell.text, track.number)
        for cell, track in zip(cells, layout.tracks, strict=True)
        if track.wraps
    ]
    number = layout.style.stacked and any(cell.spread for cell in cells)
    below = layout.style.small * LEADING if number else 0.0
    return max(_line(layout, max(texts)), _line(layout, 1) + below) + BETWEEN


def _lines(layout: Layout, text: str, limit: float) -> int:
    return len(lines_of(text, layout.style.size, limit + 1))


def _line(layout: Layout, lines: int) -> float:
    return lines * layout.style.size * LEADING
