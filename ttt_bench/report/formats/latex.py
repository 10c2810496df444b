"""Tables as LaTeX, laid out by `templates/table.tex.jinja`."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from ttt_bench.report.formats.cells import Printed, printed_row
from ttt_bench.report.tables import DASH, DOWN, UP, Column, Row, Table

LONGEST_STATE = 60
"""Characters of a state with its reason that fit a table's width."""

_SIGNS = {
    "\\": "\\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    UP: "$\\uparrow$",
    DOWN: "$\\downarrow$",
    DASH: "--",
    "→": "$\\to$",
    "±": "$\\pm$",
    "−": "$-$",
    "†": "$\\dagger$",
    "▼": "$\\bigtriangledown$",
    "‡": "$\\ddagger$",
    "§": "\\S{}",
    "²": "$^2$",
    "°": "$^\\circ$",
}


def to_latex(table: Table, label: str) -> str:
    """Return a booktabs table in a `table*` float; it needs `\\usepackage{booktabs}`."""
    columns = table.printed
    heads = [table.corner, *(" ".join(column.lines) for column in columns)]
    template = _environment().get_template("table.tex.jinja")
    return template.render(
        table=table, label=label, columns=columns, heads=[latex(head) for head in heads]
    )


def latex(text: str) -> str:
    """Return a text escaped for LaTeX, with Delta_TTT as a symbol."""
    escaped = "".join(_SIGNS.get(sign, sign) for sign in text)
    return escaped.replace("Delta\\_TTT", "$\\Delta_{\\mathrm{TTT}}$")


def _environment() -> Environment:
    """Return an environment with delimiters that LaTeX does not use."""
    environment = Environment(
        loader=PackageLoader("ttt_bench.report"),
        undefined=StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {"latex": latex, "cells": _cells, "group_heads": _group_heads}
    return environment


def _group_heads(table: Table) -> str:
    """Return the line of heads over groups of columns, with a rule below each."""
    heads, rules, first = [], [], 2
    for group, number in table.groups:
        heads.append(f"\\multicolumn{{{number}}}{{c}}{{{latex(group)}}}")
        rules += [f"\\cmidrule(lr){{{first}-{first + number - 1}}}"] if group else []
        first += number
    return f" & {' & '.join(heads)} \\\\ {' '.join(rules)}"


def _cells(row: Row, columns: Sequence[Column]) -> list[str]:
    """Return the cells of a row; one wide cell for a row without numbers."""
    if row.state:
        text = row.explanation if len(row.explanation) <= LONGEST_STATE else row.state
        return [f"\\multicolumn{{{len(columns)}}}{{l}}{{\\emph{{{latex(text)}}}}}"]
    return [_cell(cell) for cell in printed_row(row, columns)]


def _cell(cell: Printed) -> str:
    text = latex(cell.text)
    if cell.bold:
        text = f"\\textbf{{{text}}}"
    return f"{text} {{\\scriptsize {latex(cell.spread)}}}" if cell.spread else text
