"""Tables as LaTeX, laid out by `templates/table.tex.jinja`, and their notes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from ttt_bench.report.formats.latex.captions import caption_of
from ttt_bench.report.formats.latex.entries import Entry, entries
from ttt_bench.report.formats.latex.layout import PAGE, Layout, Space, Track, layouts
from ttt_bench.report.formats.latex.pages import LEADING, pages
from ttt_bench.report.formats.latex.text import clean_label, latex, packages, prose
from ttt_bench.report.formats.latex.widths import width
from ttt_bench.report.tables import Row, Section, Table


def to_latex(table: Table, label: str, space: Space = PAGE, *, shortens: bool = False) -> str:
    """Return a booktabs table in a float that fits the space; several floats if it is too large.

    Args:
        shortens: secondary columns may be omitted.
    """
    found = layouts(table, space, shortens=shortens)
    shown = tuple(track.column for layout in found for track in layout.tracks)
    caption = caption_of(replace(table, columns=shown))
    parts = [page for layout in found for page in pages(layout, caption)]
    template = _environment().get_template("table.tex.jinja")
    text = template.render(
        parts=parts, table=table, caption=caption, label=clean_label(label), space=space
    )
    return f"% needs \\usepackage{{{packages(text)}}}; set for {space.extent}\n{text}"


def notes_latex(table: Table) -> str:
    """Return the notes of a table as paragraphs."""
    notes = [f"\\textbf{{{latex(note.about)}.}} {prose(note.text)}.\\par" for note in table.notes]
    text = "\n".join(["{\\footnotesize\\sloppy\\setlength{\\parindent}{0pt}", *notes, "}", ""])
    return f"% notes of the table, for an appendix; needs \\usepackage{{{packages(text)}}}\n{text}"


@cache
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
    environment.filters |= {
        "latex": latex,
        "prose": prose,
        "leading": lambda size: f"{size * LEADING:.1f}",
        "specification": _specification,
        "heads": _heads,
        "heading": _heading,
        "row": _row,
    }
    return environment


def _specification(layout: Layout) -> str:
    """Return the argument of `tabular`: numbers, marks and spreads are columns of LaTeX."""
    return "@{}l" + "".join(map(_columns, layout.tracks)) + "@{}"


def _columns(track: Track) -> str:
    if track.stacked:
        return "c"
    if track.wraps:
        return "l"
    return "r" + ("@{}l" if track.mark else "") + ("@{\\,}l" if track.spread else "")


def _heads(layout: Layout) -> list[str]:
    """Return the lines of the head: groups with rules below, and the heads of columns."""
    lines = max(len(track.heads) for track in layout.tracks)
    found = _group_heads(layout) if any(group for group, _ in layout.groups) else []
    for line in range(lines):
        corner = layout.table.corner if line == lines - 1 else ""
        cells = [_head(track, lines, line) for track in layout.tracks]
        found.append(" & ".join([latex(corner), *cells]) + " \\\\")
    return found


def _head(track: Track, lines: int, line: int) -> str:
    """Return a line of a head, which is aligned with the lowest lines of the others."""
    own = line - lines + len(track.heads)
    text = latex(track.heads[own]) if own >= 0 else ""
    return _spanning(text, track.span, "c") if track.span > 1 else text


def _group_heads(layout: Layout) -> list[str]:
    heads, rules, first = [], [], 2
    for group, tracks in layout.groups:
        span = sum(track.span for track in tracks)
        heads.append(_spanning(latex(group), span, "c"))
        rules += [f"\\cmidrule(lr){{{first}-{first + span - 1}}}"] if group else []
        first += span
    return [f" & {' & '.join(heads)} \\\\", " ".join(rules)]


def _heading(section: Section, layout: Layout) -> str:
    """Return the line of a section's heading, with the detail if it fits the table's width."""
    size = layout.style.size
    fits = width(section.full_heading, size) <= layout.width
    text = section.full_heading if fits else section.heading
    shown = _box(text, f"\\emph{{{latex(text)}}}", size, layout.width)
    return _spanning(shown, 1 + sum(track.span for track in layout.tracks), "@{}l")


def _row(row: Row, layout: Layout) -> str:
    """Return the line of a row."""
    label = latex(row.title or row.label) + latex(row.mark)
    # TeX would read a bracket after the end of a line as an argument
    label = f"{{}}{label}" if label.startswith("[") else label
    head = _box(row.head, label, layout.style.size, layout.label)
    if row.state:
        return f"{head} & {_state(row, layout)}"
    cells = entries(row, [track.column for track in layout.tracks])
    pairs = zip(cells, layout.tracks, strict=True)
    return " & ".join([head, *(_cell(cell, track, layout) for cell, track in pairs)])


def _state(row: Row, layout: Layout) -> str:
    """Return the wide cell of a row without numbers, with the reason if it fits."""
    size, free = layout.style.size, layout.width - layout.label - layout.gap
    text = row.explanation if width(row.explanation, size) <= free else row.state
    shown = _box(text, f"\\emph{{{latex(text)}}}", size, free)
    return _spanning(shown, sum(track.span for track in layout.tracks), "l@{}")


def _cell(cell: Entry, track: Track, layout: Layout) -> str:
    """Return the cells of LaTeX's columns for number, mark and spread."""
    if not cell.is_number:
        text = _box(cell.text, latex(cell.text), layout.style.size, track.number)
        return _spanning(text, track.span, "r") if track.span > 1 else text
    if track.stacked:
        shown = _number(cell) + latex(cell.mark)
        return f"\\below{{{shown}}}{{{latex(cell.spread)}}}" if cell.spread else shown
    parts = [_number(cell)]
    parts += [latex(cell.mark)] if track.mark else []
    parts += [_spread(cell)] if track.spread else []
    return " & ".join(parts)


def _number(cell: Entry) -> str:
    return f"\\textbf{{{latex(cell.text)}}}" if cell.bold else latex(cell.text)


def _spread(cell: Entry) -> str:
    return f"\\spread {latex(cell.spread)}" if cell.spread else ""


def _box(text: str, shown: str, size: float, limit: float) -> str:
    """Return what is shown of a text, in several lines if it is wider than the limit."""
    if width(text, size) <= limit + 0.1:
        return shown
    return f"\\parbox[t]{{{limit:.0f}pt}}{{\\raggedright {shown}\\strut}}"


def _spanning(text: str, span: int, alignment: str) -> str:
    return f"\\multicolumn{{{span}}}{{{alignment}}}{{{text}}}"
