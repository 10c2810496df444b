"""`report`: the command that writes tables, figures and the page."""

from __future__ import annotations

from pathlib import Path

from ttt_bench.cli.options import Json, ReportFolder, Results
from ttt_bench.cli.output import say, show, show_summary, stdout
from ttt_bench.config.request import Request


def report(
    results: Results = None,
    out: ReportFolder = None,
    as_json: Json = False,
) -> None:
    """Write tables, figures and one HTML page from a results folder."""
    from ttt_bench.report.render import report as render

    folder = results or Request().results
    rendered = render(folder, out or Path("reports") / folder.name)
    if as_json and rendered.main:
        show_summary(folder, as_json=True)
    elif as_json:  # measurements that are no cells have tables, but no rows of scores
        show([], (), title="", as_json=True)
    for table in () if as_json else (*rendered.main, *rendered.further):
        stdout.print(table)
    for problem in rendered.problems:
        say(f"left out: {problem}")
    say(f"report: {rendered.page}")
