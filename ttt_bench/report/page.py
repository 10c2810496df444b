"""The report as one self-contained HTML page, without scripts, fonts or images of other files."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from ttt_bench.report.formats.html import html_environment
from ttt_bench.report.formats.sections import ReportSection

TITLE = "Test-time training and adaptation: results"


def html(sections: Sequence[ReportSection], results: str) -> str:
    """Return the page.

    Args:
        sections: its sections, in their order.
        results: the results folder, as the footer names it.
    """
    template = html_environment().get_template("page.html.jinja")
    page = template.render(
        title=TITLE,
        summary=_summary(sections),
        sections=sections,
        results=results,
        version=version("ttt-bench"),
    )
    return page + "\n"


def _summary(sections: Sequence[ReportSection]) -> str:
    """Return a line with the numbers of comparisons and cells."""
    found = [one.provenance for one in sections if one.provenance is not None]
    cells, done = sum(one.count for one in found), sum(one.done for one in found)
    word = "comparison" if len(found) == 1 else "comparisons"
    return f"{len(found)} {word}, {done} of {cells} cells with numbers"
