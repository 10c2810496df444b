"""One table model, and its renderings: Markdown, LaTeX, CSV and HTML here, rich text in `console`.

A table says what it shows once, as cells of full precision; a rendering decides how that looks.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

DASH = "–"
UP, DOWN = "↑", "↓"


@dataclass(frozen=True)
class Number:
    """A measured number.

    Attributes:
        sd: sample standard deviation over seeds; None where there is none.
        bold: among the best of its column.
        mark: a sign that a note explains.
        decimals: digits after the point in print, where they are not those of the column.
    """

    mean: float
    sd: float | None = None
    bold: bool = False
    mark: str = ""
    decimals: int | None = None


Cell = Number | str
"""A number, or what stands in its place."""


@dataclass(frozen=True)
class Column:
    """A column of cells.

    Attributes:
        key: its name in CSV, whole words with the unit.
        head: its head, one or two short lines.
        decimals: digits after the point in print.
        higher_is_better: the direction, shown as an arrow; None where there is none.
        printed: False for what only CSV needs.
        secondary: may be left out where there is no room for it.
        wraps: its cells are words, which may take several lines.
    """

    key: str
    head: tuple[str, ...]
    decimals: int = 2
    higher_is_better: bool | None = None
    printed: bool = True
    secondary: bool = False
    wraps: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """The head with its arrow."""
        if self.higher_is_better is None:
            return self.head
        return (*self.head[:-1], f"{self.head[-1]} {UP if self.higher_is_better else DOWN}")


@dataclass(frozen=True)
class Row:
    """A row: cells by column key; columns that it lacks show a dash.

    Attributes:
        state: one or two words that stand in place of all numbers ("diverged").
        reason: why there are none.
    """

    label: str
    cells: dict[str, Cell] = field(default_factory=dict)
    state: str = ""
    reason: str = ""

    @property
    def name(self) -> str:
        """The label, with the state where there is one."""
        return f"{self.label}: {self.state}" if self.state else self.label


@dataclass(frozen=True)
class Section:
    """Rows under one heading, with more about them in `detail`; `key` names the section in CSV."""

    key: str
    heading: str
    rows: tuple[Row, ...]
    detail: str = ""

    @property
    def full_heading(self) -> str:
        return f"{self.heading}: {self.detail}" if self.detail else self.heading


@dataclass(frozen=True)
class Table:
    """A table with its notes: (what a note is about, its text)."""

    title: str
    subtitle: str
    columns: tuple[Column, ...]
    sections: tuple[Section, ...]
    notes: tuple[tuple[str, str], ...] = ()
    corner: str = "method"

    @property
    def printed(self) -> tuple[Column, ...]:
        """The columns that are not for CSV alone."""
        return tuple(column for column in self.columns if column.printed)


def number_text(number: Number, decimals: int) -> tuple[str, str]:
    """(mean, standard deviation) as printed; the latter is empty where there is none. A minus is
    a real minus.
    """
    if not math.isfinite(number.mean):
        return DASH, ""
    decimals = number.decimals if number.decimals is not None else decimals
    mean = f"{number.mean:.{decimals}f}"
    # -0.00 is a rounding, not a sign
    mean = mean.lstrip("-") if float(mean) == 0 else mean.replace("-", "−")
    if number.sd is None or not math.isfinite(number.sd):
        return mean + number.mark, ""
    sd = f"{number.sd:.{decimals}f}"
    # a spread that is there is not printed as none, unless it is rounding
    if float(sd) == 0 and number.sd > 1e-9 * abs(number.mean):
        sd = f"{number.sd:.0e}"
    return mean + number.mark, sd


def row_texts(row: Row, columns: Sequence[Column]) -> list[tuple[str, str, bool]]:
    """(mean or text, standard deviation, bold) of each column; blank for a row without numbers."""
    if row.state:
        return [("", "", False)] * len(columns)
    texts = []
    for column in columns:
        cell = row.cells.get(column.key, DASH)
        if isinstance(cell, Number):
            texts.append((*number_text(cell, column.decimals), cell.bold))
        else:
            texts.append((cell, "", False))
    return texts


def to_csv(table: Table) -> str:
    """One number a cell, full precision: each column as `<key>` and, where any row has a spread,
    `<key>_sd`.
    """
    with_sd = {
        c.key
        for c in table.columns
        for s in table.sections
        for r in s.rows
        if _sd(r.cells.get(c.key)) is not None
    }
    heads = [
        name
        for c in table.columns
        for name in ([c.key, f"{c.key}_sd"] if c.key in with_sd else [c.key])
    ]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["selection", table.corner, *heads, "state", "reason"])
    for section in table.sections:
        for row in section.rows:
            values: list[object] = []
            for column in table.columns:
                cell = row.cells.get(column.key, "")
                values.append(
                    _plain(cell.mean) if isinstance(cell, Number) else "" if cell == DASH else cell
                )
                if column.key in with_sd:
                    values.append(_plain(_sd(cell)))
            writer.writerow([section.key, row.label, *values, row.state, row.reason])
    return stream.getvalue()


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured table, padded so that it also reads as text, with its notes as a list."""
    columns = table.printed
    lines = [[table.corner, *(" ".join(column.lines) for column in columns)]]
    for section in table.sections:
        lines.append([f"**{section.heading}**", *[""] * len(columns)])
        lines.extend([row.name, *_markdown_cells(row, columns)] for row in section.rows)
    escaped = [[text.replace("|", "\\|") for text in line] for line in lines]
    widths = [max(3, *(len(line[i]) for line in escaped)) for i in range(len(columns) + 1)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    body = [_markdown_line(line, widths) for line in [escaped[0], rule, *escaped[1:]]]
    notes = [f"- **{about}.** {text}" for about, text in table.notes]
    return (
        "\n".join([f"### {table.title}", "", table.subtitle, "", *body, "", *notes]).rstrip() + "\n"
    )


def to_latex(table: Table, label: str) -> str:
    """A booktabs table in a `table*` float; needs `\\usepackage{booktabs}`."""
    columns = table.printed
    heads = [latex(table.corner), *(latex(" ".join(column.lines)) for column in columns)]
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table*}[t]",
        "\\centering\\small",
        f"\\caption{{{latex(table.title)}: {latex(table.subtitle)}.}}",
        f"\\label{{{label}}}",
        f"\\begin{{tabular}}{{l{'r' * len(columns)}}}",
        "\\toprule",
        f"{' & '.join(heads)} \\\\",
    ]
    for section in table.sections:
        lines += [
            "\\midrule",
            f"\\multicolumn{{{len(columns) + 1}}}{{l}}{{\\emph{{{latex(section.full_heading)}}}}} \\\\",
        ]
        lines += [
            f"{' & '.join([latex(row.label), *_latex_cells(row, columns)])} \\\\"
            for row in section.rows
        ]
    lines += ["\\bottomrule", "\\end{tabular}"]
    if table.notes:
        notes = [f"\\textbf{{{latex(about)}.}} {latex(text)}\\par" for about, text in table.notes]
        lines += [
            "\\par\\medskip",
            "\\begin{minipage}{\\linewidth}\\footnotesize",
            *notes,
            "\\end{minipage}",
        ]
    return "\n".join([*lines, "\\end{table*}"]) + "\n"


def to_html(table: Table) -> Markup:
    """A `<table>` with one `<tbody>` a section; the notes are left to the page.

    Means and standard deviations are cells of their own, so that both stay aligned.
    """
    columns = table.printed
    spans = [2 if _has_sd(table, column) else 1 for column in columns]
    heads = Markup("").join(
        Markup('<th scope="col" colspan="{}">{}</th>').format(
            span, Markup("<br>").join(column.lines)
        )
        for column, span in zip(columns, spans, strict=True)
    )
    bodies = Markup("\n").join(_html_section(section, columns, spans) for section in table.sections)
    corner = Markup('<th scope="col">{}</th>').format(table.corner)
    return Markup("<table>\n<thead><tr>{}{}</tr></thead>\n{}\n</table>").format(
        corner, heads, bodies
    )


_LATEX = {
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
    "²": "$^2$",
    "°": "$^\\circ$",
}


def latex(text: str) -> str:
    """Text in which nothing is a command to LaTeX."""
    escaped = "".join(_LATEX.get(sign, sign) for sign in text)
    return escaped.replace("Delta\\_TTT", "$\\Delta_{\\mathrm{TTT}}$")


def _latex_cells(row: Row, columns: Sequence[Column]) -> Iterator[str]:
    if row.state:
        text = f"{row.state}: {row.reason}" if row.reason else row.state
        short = text if len(text) <= 60 else row.state
        yield f"\\multicolumn{{{len(columns)}}}{{l}}{{\\emph{{{latex(short)}}}}}"
        return
    for mean, sd, bold in row_texts(row, columns):
        shown = f"\\textbf{{{latex(mean)}}}" if bold else latex(mean)
        yield f"{shown} {{\\scriptsize$\\pm${sd}}}" if sd else shown


def _markdown_cells(row: Row, columns: Sequence[Column]) -> Iterator[str]:
    for mean, sd, bold in row_texts(row, columns):
        shown = f"**{mean}**" if bold else mean
        yield f"{shown} ± {sd}" if sd else shown


def _markdown_line(texts: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = texts
    cells = [
        first.ljust(widths[0]),
        *(text.rjust(width) for text, width in zip(others, widths[1:], strict=True)),
    ]
    return f"| {' | '.join(cells)} |"


def _html_section(section: Section, columns: Sequence[Column], spans: Sequence[int]) -> Markup:
    heading = Markup('<tr class="section"><th colspan="{}" scope="colgroup">{}</th></tr>').format(
        sum(spans) + 1, section.full_heading
    )
    rows = Markup("\n").join(_html_row(row, columns, spans) for row in section.rows)
    return Markup("<tbody>\n{}\n{}\n</tbody>").format(heading, rows)


def _html_row(row: Row, columns: Sequence[Column], spans: Sequence[int]) -> Markup:
    label = Markup('<th scope="row">{}</th>').format(row.label)
    if row.state:
        text = f"{row.state}: {row.reason}" if row.reason else row.state
        return Markup('<tr>{}<td class="state" colspan="{}">{}</td></tr>').format(
            label, sum(spans), text
        )
    cells = Markup("")
    for (mean, sd, bold), span in zip(row_texts(row, columns), spans, strict=True):
        cells += Markup("<td>{}</td>").format(
            Markup("<b>{}</b>").format(mean) if bold else escape(mean)
        )
        if span == 2:
            cells += Markup('<td class="sd">{}</td>').format(f"± {sd}" if sd else "")
    return Markup("<tr>{}{}</tr>").format(label, cells)


def _has_sd(table: Table, column: Column) -> bool:
    rows = (row for section in table.sections for row in section.rows)
    return any(_sd(row.cells.get(column.key)) is not None for row in rows)


def _sd(cell: Cell | None) -> float | None:
    return (
        cell.sd
        if isinstance(cell, Number) and cell.sd is not None and math.isfinite(cell.sd)
        else None
    )


def _plain(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else repr(float(value))
