"""Tables as records: columns, rows in sections, and notes; `report.formats` renders them.

The cells keep full precision. A format decides how a number looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

DASH = "–"
UP, DOWN = "↑", "↓"
MARKS = frozenset("▼*~†‡§")
"""The signs after numbers and names that notes explain."""


@dataclass(frozen=True)
class Note:
    """A note below a table; it unpacks into its subject and its text.

    Attributes:
        about: its subject in one or two words.
        text: its text.
        caption: the text in short sentences, without their full stops, for a caption; empty for a
            note that captions omit.
    """

    about: str
    text: str
    caption: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        yield from (self.about, self.text)

    @property
    def explains_mark(self) -> bool:
        """Return whether the note explains bold numbers or a mark in the table."""
        return self.about.startswith("Bold") or self.about[-1] in MARKS


@dataclass(frozen=True, kw_only=True)
class Number:
    """A measured number.

    Attributes:
        sd: sample standard deviation over seeds, or None.
        interval: the ends of its interval, or None.
        bold: whether the number is shown to be better than its reference, which a note names.
        mark: a sign that a note explains.
        decimals: digits after the point in print; None: those of the column.
        printed_sd: the standard deviation in print, if it has digits that are not to be rounded.
    """

    mean: float
    sd: float | None = None
    interval: tuple[float, float] | None = None
    bold: bool = False
    mark: str = ""
    decimals: int | None = None
    printed_sd: str = ""

    @property
    def finite_sd(self) -> float | None:
        """Return the standard deviation, or None if it is missing or not finite."""
        if self.sd is None or not math.isfinite(self.sd):
            return None
        return self.sd


Cell = Number | str
"""A number, or a text in its place."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of cells.

    Attributes:
        key: its name in CSV, in whole words and with the unit.
        group: a head over this column and its neighbours of the same group; may be empty.
        head: its head, one or two short lines.
        decimals: digits after the point in print.
        higher_is_better: the direction, printed as an arrow; None: the column has no direction.
        printed: False for a column of the CSV file alone.
        secondary: may be omitted in a narrow console.
        wraps: its cells are words, which may take several lines.
        intervals: numbers are printed with their interval, if any, in place of their deviation.
        per_task: its numbers are those of a single task.
    """

    key: str
    head: tuple[str, ...]
    group: str = ""
    decimals: int = 2
    higher_is_better: bool | None = None
    printed: bool = True
    secondary: bool = False
    wraps: bool = False
    intervals: bool = False
    per_task: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the lines of the head, the last one with the arrow."""
        if self.higher_is_better is None:
            return self.head
        arrow = UP if self.higher_is_better else DOWN
        return (*self.head[:-1], f"{self.head[-1]} {arrow}")

    @property
    def full_lines(self) -> tuple[str, ...]:
        """Return the lines of the head, after the group if the column has one."""
        return (self.group, *self.lines) if self.group else self.lines


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row: map column key to cell; a missing cell is printed as a dash.

    Attributes:
        label: its name in CSV.
        title: its name in print; empty: that in CSV.
        state: one or two words in place of all numbers ("diverged").
        reason: why the row has no numbers.
        mark: a sign after the name that a note explains.
        contract: the verdict on the method that the mark stands for, in words.
    """

    label: str
    title: str = ""
    cells: dict[str, Cell] = field(default_factory=dict)
    state: str = ""
    reason: str = ""
    mark: str = ""
    contract: str = ""

    @property
    def head(self) -> str:
        """Return the printed name with its mark."""
        title = self.title or self.label
        return f"{title} {self.mark}" if self.mark else title

    @property
    def name(self) -> str:
        """Return the printed name with its mark, and the state if the row has one."""
        return f"{self.head}: {self.state}" if self.state else self.head

    @property
    def explanation(self) -> str:
        """Return the state, with the reason if the row has one."""
        return f"{self.state}: {self.reason}" if self.reason else self.state

    def sd(self, column: Column) -> float | None:
        """Return the standard deviation of the row's number in a column, or None."""
        cell = self.cells.get(column.key)
        return cell.finite_sd if isinstance(cell, Number) else None

    def interval(self, column: Column) -> tuple[float, float] | None:
        """Return the interval of the row's number in a column, or None."""
        cell = self.cells.get(column.key)
        return cell.interval if isinstance(cell, Number) else None


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows under one heading, which `detail` explains.

    Attributes:
        key: its name in CSV.
        measured: False for rows that are not of this run, so that they get none of its marks.
        printed: False for a section of the CSV file alone.
    """

    key: str
    heading: str
    rows: tuple[Row, ...]
    detail: str = ""
    measured: bool = True
    printed: bool = True

    @property
    def full_heading(self) -> str:
        """Return the heading with its detail."""
        return f"{self.heading}: {self.detail}" if self.detail else self.heading


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with its notes; `corner` is the head of the labels' column."""

    title: str
    subtitle: str
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    notes: tuple[Note, ...] = ()
    corner: str = "method"

    @property
    def printed(self) -> tuple[Column, ...]:
        """Return the columns that every format shows; CSV shows further ones."""
        return tuple(column for column in self.columns if column.printed)

    @property
    def groups(self) -> tuple[tuple[str, int], ...]:
        """Return (group, number of neighbouring columns) in print; empty without groups."""
        runs = groupby(self.printed, key=lambda column: column.group)
        found = tuple((group, len(list(columns))) for group, columns in runs)
        return found if any(group for group, _ in found) else ()

    @property
    def printed_sections(self) -> tuple[Section, ...]:
        """Return the sections that every format shows; CSV shows further ones."""
        return tuple(section for section in self.sections if section.printed)

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all sections."""
        for section in self.sections:
            yield from section.rows

    def has_sd(self, column: Column) -> bool:
        """Return whether any number of a column has a standard deviation."""
        return any(row.sd(column) is not None for row in self.rows())

    def has_interval(self, column: Column) -> bool:
        """Return whether any number of a column has an interval."""
        return any(row.interval(column) is not None for row in self.rows())
