"""Tables as HTML, laid out by `templates/table.html.jinja`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ttt_bench.report.formats.cells import Printed, printed_row
from ttt_bench.report.tables import Column, Row, Table

Spans = list[tuple[Column, int]]
"""Each column with the number of its cells: two if it has deviations or intervals."""


def html_environment() -> Environment:
    """Return an environment for HTML templates, with the filter `html` for tables."""
    environment = Environment(
        loader=PackageLoader("ttt_bench.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters |= {"html": to_html, "cells": _cells}
    return environment


def to_html(table: Table) -> Markup:
    """Return a `<table>` with one `<tbody>` per section, without the table's notes."""
    columns = [(column, 1 + _has_spread(table, column)) for column in table.printed]
    width = sum(span for _, span in columns)
    template = html_environment().get_template("table.html.jinja")
    runs = groupby(columns, key=lambda one: one[0].group)
    spans = [(group, sum(map(itemgetter(1), own))) for group, own in runs]
    return Markup(template.render(table=table, columns=columns, spans=spans, width=width))


def _has_spread(table: Table, column: Column) -> bool:
    return table.has_sd(column) or (column.intervals and table.has_interval(column))


def _cells(row: Row, spans: Spans) -> Iterator[tuple[Printed, int]]:
    """Yield the printed cell of each column with its span."""
    columns = [column for column, _ in spans]
    widths = [span for _, span in spans]
    return zip(printed_row(row, columns), widths, strict=True)
