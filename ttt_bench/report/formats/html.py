"""Tables as HTML, laid out by `templates/table.html.jinja`.

Every cell carries the values of the CSV file, so that scripts and tests read no rounded number:

    table data-table="SLUG/NAME"      the files of the table are SLUG/NAME.csv and others
    th, td data-column="KEY"          the name of the column in CSV
    tr data-section data-label        `selection` and the row's name in CSV
    td data-value                     the value in CSV; empty for a dash
    td data-sd data-low data-high     KEY_sd, KEY_low and KEY_high in CSV, if the row has them
    td data-column="state"            the state of a row without numbers; `data-reason`: the reason

`data-better` of a head is `higher` or `lower`. `data-control` marks the rows of controls. The
class `task` marks the columns of single tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import ceil

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ttt_bench.report.formats.cells import Printed, printed_row
from ttt_bench.report.formats.csv_text import exact
from ttt_bench.report.tables import Column, Row, Table
from ttt_bench.stats.comparison import is_control

NARROW = frozenset(".,:;[]()'| ")
"""Characters that are about half as wide as a digit."""
_BETTER = {True: "higher", False: "lower", None: None}
_KINDS = {"per_task": "task", "wraps": "words"}
"""Map an attribute of columns to the class of their cells."""


@cache
def html_environment() -> Environment:
    """Return the environment of HTML templates, with the filter `html` for tables."""
    environment = Environment(
        loader=PackageLoader("ttt_bench.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"html": to_html}
    return environment


@dataclass(frozen=True, kw_only=True)
class _ShownColumn:
    """A column as the template lays it out.

    Attributes:
        own: the column.
        head: attributes of its head.
        kinds: classes of its cells.
        spread: width of its spreads in digits; 0 without spreads.
        marked: whether any of its numbers has a mark.
        width: width of its widest cell in digits.
    """

    own: Column
    head: Mapping[str, str | None]
    kinds: str
    spread: int
    marked: bool
    width: int


@dataclass(frozen=True, kw_only=True)
class _ShownRow:
    """A row as the template lays it out.

    Attributes:
        own: the row.
        attributes: those of the row.
        cells: each printed cell with its column and its attributes.
    """

    own: Row
    attributes: Mapping[str, str | None]
    cells: Sequence[tuple[Printed, _ShownColumn, Mapping[str, str | None]]]


def to_html(table: Table, name: str) -> Markup:
    """Return a `<table>` with one `<tbody>` per section, without the table's notes.

    Args:
        table: the table.
        name: the path of its files in the report, without an ending.
    """
    columns = _columns(table)
    sections = [
        (section, list(map(partial(_row, section.key, columns), section.rows)))
        for section in table.printed_sections
    ]
    labels = [row.head for row in table.rows()]
    template = html_environment().get_template("table.html.jinja")
    return Markup(
        template.render(
            table=table,
            name=name,
            columns=columns,
            sections=sections,
            digits=max(map(_width, labels), default=0) + sum(one.width + 2 for one in columns),
        )
    )


def _columns(table: Table) -> list[_ShownColumn]:
    """Return the printed columns with their widths."""
    columns = table.printed
    rows = [row for section in table.printed_sections for row in section.rows]
    by_row = [printed_row(row, columns) for row in rows]
    by_column = list(zip(*by_row, strict=True)) or [()] * len(columns)
    return [_column(*one) for one in zip(columns, by_column, strict=True)]


def _column(own: Column, cells: Sequence[Printed]) -> _ShownColumn:
    spread = max((_width(cell.spread) for cell in cells), default=0)
    texts = [cell.text for cell in cells] if not own.wraps else []
    kinds = " ".join(kind for name, kind in _KINDS.items() if getattr(own, name))
    return _ShownColumn(
        own=own,
        head={"data-column": own.key, "data-better": _BETTER[own.higher_is_better]},
        kinds=kinds,
        spread=spread,
        marked=any(cell.mark for cell in cells),
        width=max(*map(_width, own.lines), max(map(_width, texts), default=0) + spread),
    )


def _row(section: str, columns: Sequence[_ShownColumn], row: Row) -> _ShownRow:
    printed = printed_row(row, [column.own for column in columns])
    control = "" if is_control(row.label) else None
    return _ShownRow(
        own=row,
        attributes={
            "data-section": section,
            "data-label": row.label,
            "data-control": control,
        },
        cells=[
            (cell, column, _values(row, column.own))
            for cell, column in zip(printed, columns, strict=True)
        ],
    )


def _values(row: Row, column: Column) -> dict[str, str | None]:
    """Return the attributes of a cell: its column, and its values as in CSV."""
    values = exact(row, column)
    ends = {f"data-{end[1:]}": values[end] or None for end in ("_sd", "_low", "_high")}
    return {"data-column": column.key, "data-value": values[""], **ends}


def _width(text: str) -> int:
    """Return the width of a text in digits, rounded up."""
    narrow = sum(character in NARROW for character in text)
    return ceil(len(text) - narrow / 2)
