"""The layout of a table in LaTeX: columns, sizes of type, and widths.

`layouts` chooses the first layout that fits: numbers with their spreads next to them, in 8 or 7 pt;
then without the secondary columns, if they may be omitted; then with spreads below the numbers. If
none fits, the columns are divided among several tables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, groupby

from ttt_bench.report.formats.latex.entries import Entry, entries
from ttt_bench.report.formats.latex.packing import even
from ttt_bench.report.formats.latex.widths import lines_of, width
from ttt_bench.report.tables import Column, Row, Table

LEAST_GAP, LARGEST_GAP = 5.0, 14.0
"""Space between columns, in points."""
INNER_GAP = 1.5
"""Space between a number and its spread, in points."""
WORDS, TEXT = 70.0, 120.0
"""Widest column of words and of other texts, in points; longer ones take several lines."""
LABEL_SHARE = 0.3
"""Largest part of the width that labels take; longer ones take several lines."""
NBSP = "\u00a0"
_SIGN = re.compile("(?<=[−<]) | (?=[↑↓%])")
"""A space next to a sign, where a head has no new line."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The space for a table.

    Attributes:
        width: in points.
        height: in points, with the caption.
        environment: the float of LaTeX.
        extent: the width in words.
    """

    width: float
    height: float
    environment: str
    extent: str


PAGE = Space(width=490.0, height=620.0, environment="table*", extent="a text width of 497 pt")
COLUMN = Space(width=234.0, height=620.0, environment="table", extent="a column of 237 pt")


@dataclass(frozen=True)
class Style:
    """Sizes of type in points, and whether spreads are below the numbers."""

    size: float
    small: float
    stacked: bool = False


INLINE = (Style(8, 6), Style(7, 6))
STACKED = (Style(8, 6, stacked=True), Style(7, 6, stacked=True))


@dataclass(frozen=True, kw_only=True)
class Track:
    """A column in print; widths are in points.

    Attributes:
        number: width of the widest number or text.
        mark: width of the marks after numbers; 0 without marks.
        spread: width of the widest spread; 0 without spreads.
        wraps: its texts take several lines of width `number`.
        stacked: spreads are below the numbers.
        heads: lines of its head.
        head: width of the widest line.
    """

    column: Column
    number: float
    mark: float
    spread: float
    wraps: bool
    stacked: bool
    heads: tuple[str, ...]
    head: float

    @property
    def width(self) -> float:
        """Return the width of the column."""
        inline = self.number + self.mark + (self.spread + INNER_GAP if self.spread else 0)
        below = max(self.number + self.mark, self.spread)
        return max(self.head, below if self.stacked else inline)

    @property
    def span(self) -> int:
        """Return the number of LaTeX's columns that it takes."""
        return 1 if self.stacked else 1 + bool(self.mark) + bool(self.spread)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A table with its columns in print; `label` is the width of the labels."""

    table: Table
    space: Space
    style: Style
    label: float
    tracks: tuple[Track, ...]

    @cached_property
    def groups(self) -> list[tuple[str, list[Track]]]:
        """Return the runs of neighbouring columns with the same group."""
        runs = groupby(self.tracks, key=lambda track: track.column.group)
        return [(group, list(tracks)) for group, tracks in runs]

    @cached_property
    def natural(self) -> float:
        """Return the width without gaps between columns."""
        return self.label + sum(self._width(group, tracks) for group, tracks in self.groups)

    @property
    def gap(self) -> float:
        """Return the space between columns."""
        free = (self.space.width - self.natural) / max(1, len(self.tracks))
        return math.floor(10 * min(max(free, LEAST_GAP), LARGEST_GAP)) / 10

    @property
    def width(self) -> float:
        """Return the width of the table."""
        return self.natural + self.gap * len(self.tracks)

    @property
    def fits(self) -> bool:
        """Return whether the table fits its space."""
        return self.natural + LEAST_GAP * len(self.tracks) <= self.space.width

    def _width(self, group: str, tracks: Sequence[Track]) -> float:
        own = sum(track.width for track in tracks)
        return max(own, width(group, self.style.size) - LEAST_GAP * (len(tracks) - 1))


def layouts(table: Table, space: Space, *, shortens: bool = False) -> list[Layout]:
    """Return the layout of a table, or of each part if its columns are divided.

    Args:
        shortens: secondary columns may be omitted.
    """
    found = next((one for one in _candidates(table, space, shortens) if one.fits), None)
    return [found] if found is not None else _divided(table, space)


def _candidates(table: Table, space: Space, shortens: bool) -> Iterator[Layout]:
    """Yield the layouts with all columns that are to be shown, the best one first."""
    every = table.printed
    choices = [every]
    if shortens:
        # differences, which have intervals, are omitted last
        choices.append(tuple(one for one in every if one.intervals or not one.secondary))
        choices.append(tuple(one for one in every if not one.secondary))
    for styles in (INLINE, STACKED):
        for columns in choices:
            for style in styles:
                yield layout(table, columns, space, style)


def _divided(table: Table, space: Space) -> list[Layout]:
    """Return the parts of a table whose columns do not fit next to each other."""
    style = INLINE[-1]
    whole = layout(table, table.printed, space, style)
    units = [unit for group, tracks in whole.groups for unit in _units(group, tracks)]
    parts = even(units, _unit_width, space.width - whole.label)
    return [replace(whole, tracks=tuple(chain.from_iterable(part))) for part in parts]


def _units(group: str, tracks: list[Track]) -> list[list[Track]]:
    """Return the tracks of a group together; each one alone without a group."""
    return [tracks] if group else [[track] for track in tracks]


def _unit_width(unit: Sequence[Track]) -> float:
    return sum(track.width + LEAST_GAP for track in unit)


def layout(table: Table, columns: Sequence[Column], space: Space, style: Style) -> Layout:
    """Return the layout of a table with these columns."""
    rows = [row for section in table.printed_sections for row in section.rows]
    cells = [entries(row, columns) for row in rows if not row.state]
    by_column = zip(*cells, strict=True) if cells else [()] * len(columns)
    tracks = (_track(column, own, style) for column, own in zip(columns, by_column, strict=True))
    return Layout(
        table=table,
        space=space,
        style=style,
        label=min(_label(table, rows, style), LABEL_SHARE * space.width),
        tracks=tuple(tracks),
    )


def _label(table: Table, rows: Iterable[Row], style: Style) -> float:
    heads = [table.corner, *(row.head for row in rows)]
    return max(width(text, style.size) for text in heads)


def _track(column: Column, cells: Sequence[Entry], style: Style) -> Track:
    texts = max((width(one.text, style.size, bold=one.bold) for one in cells), default=0.0)
    limit = WORDS if column.wraps else TEXT
    number = min(texts, limit)
    mark = max((width(one.mark, style.size) for one in cells), default=0.0)
    spread = max((width(one.spread, style.small) for one in cells), default=0.0)
    heads = _heads(column, number + mark + (0 if style.stacked else spread), style.size)
    return Track(
        column=column,
        number=number,
        mark=mark,
        spread=spread,
        wraps=texts > limit,
        stacked=style.stacked,
        heads=heads,
        head=max(width(line, style.size) for line in heads),
    )


def _heads(column: Column, body: float, size: float) -> tuple[str, ...]:
    """Return the lines of a head, in which words go on a new line rather than widen the column."""
    lines = [_SIGN.sub(NBSP, line) for line in column.lines]
    words = [word for line in lines for word in line.split(" ")]
    limit = max(body, *(width(word, size) for word in words))
    return tuple(part for line in lines for part in lines_of(line, size, limit)) or ("",)
