"""The report as one self-contained HTML page: its style, its script and its images are inlined.

`templates/page.css` has the style, whose colours are variables that inlined figures may use:
`--paper`, `--ink`, `--soft`, `--line`, `--shade` and `--accent`. `templates/page.js` adds sorting,
filtering and hiding to tables, which are plain tables without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from ttt_bench.report.formats.html import html_environment
from ttt_bench.report.formats.sections import Kind, ReportSection
from ttt_bench.report.tables import Note, Table

TITLE = "Test-time training and adaptation: results"
LONG = 320
"""Letters of the notes that are shown unfolded."""
MOST_COLUMNS = 7
"""Columns of the widest table that has an upright page of paper."""


def html(
    sections: Sequence[ReportSection],
    results: str,
    *,
    command: str,
    shown: str = "",
    notes: Sequence[str] = (),
) -> str:
    """Return the page.

    Args:
        sections: its sections, in their order.
        results: the results folder, as the footer names it.
        command: the command that writes the report.
        shown: what of the results is shown, in words; empty: everything.
        notes: notes on damaged cells, and on what differs between the folders.
    """
    environment = html_environment().overlay()
    environment.filters = environment.filters | {"is_wide": is_wide, "split_notes": split_notes}
    template = environment.get_template("page.html.jinja")
    page = template.render(
        title=TITLE,
        summary=summary(sections, shown),
        notes=notes,
        sections=sections,
        results=results,
        command=command,
        version=version("ttt-bench"),
    )
    return page + "\n"


def split_notes(notes: Sequence[Note]) -> tuple[tuple[Note, ...], tuple[Note, ...]]:
    """Return the notes that the page shows, and those that it folds.

    Notes that explain marks are always shown. The others are folded if they are long together.
    """
    keys = tuple(note for note in notes if note.explains_mark)
    others = tuple(note for note in notes if not note.explains_mark)
    if sum(len(note.text) for note in others) <= LONG:
        return tuple(notes), ()
    return keys, others


def is_wide(table: Table) -> bool:
    """Return whether paper shows the table on a landscape page."""
    return len(table.printed) > MOST_COLUMNS


def summary(sections: Sequence[ReportSection], shown: str = "") -> str:
    """Return a line with the numbers of sections and cells, and what is shown of the results.

    Example: "1 comparison, 4 of 4 cells with numbers; 1 study, 3 of 5 cells with numbers".
    """
    by_kind: dict[Kind, list[ReportSection]] = {}
    for section in sections:
        by_kind.setdefault(section.kind, []).append(section)
    line = "; ".join(_counted(kind, found) for kind, found in by_kind.items()) or "nothing to show"
    return f"{line}. Shown: {shown}" if shown else line


def _counted(kind: Kind, sections: Sequence[ReportSection]) -> str:
    """Return the number of sections of a kind and of their cells, in words."""
    one, several = kind.value
    words = f"{len(sections)} {one if len(sections) == 1 else several}"
    cells = frozenset[str]().union(*(section.cells for section in sections))
    done = frozenset[str]().union(*(section.done for section in sections))
    return f"{words}, {len(done)} of {len(cells)} cells with numbers" if cells else words
