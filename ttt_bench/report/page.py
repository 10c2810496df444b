"""The report as one self-contained HTML page: its style, its script and its images are inlined.

`templates/page.css` has the style, whose colours are variables that inlined figures may use:
`--paper`, `--ink`, `--soft`, `--line`, `--shade` and `--accent`. `templates/page.js` adds sorting,
filtering and hiding to tables, which are plain tables without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from ttt_bench.report.formats.html import html_environment
from ttt_bench.report.formats.sections import ReportSection
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
    """Return a line with the numbers of comparisons and cells, and what is shown of them."""
    found = [one.provenance for one in sections if one.provenance is not None]
    cells, done = sum(one.count for one in found), sum(one.done for one in found)
    word = "comparison" if len(found) == 1 else "comparisons"
    line = f"{len(found)} {word}, {done} of {cells} cells with numbers"
    return f"{line}. Shown: {shown}" if shown else line
