"""`report` and `show`: the commands that write tables, figures and the page, and open the page."""

from __future__ import annotations

import json
import os
import sys
import webbrowser
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_bench.cli.options import AS_RESULTS, Json, ReportFolder
from ttt_bench.cli.output import say, show_table, stdout
from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError
from ttt_bench.report.selection.place import PAGE, usual_folder
from ttt_bench.util.problems import raise_problems
from ttt_bench.util.store.address import shown

if TYPE_CHECKING:
    from ttt_bench.report.render import Rendered
    from ttt_bench.report.selection.choices import Choices


def report(
    results: Annotated[
        list[Path] | None,
        typer.Option(
            "--results",
            help="Results folder, or the URL of one (s3://bucket/run). May be given several times: "
            "their cells are shown together. Default: results/run.",
            show_default=False,
            **AS_RESULTS,
        ),
    ] = None,
    out: ReportFolder = None,
    *,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods that are shown: names or groups as in `run`, joined by commas. base and "
            "norm, the references, are always shown. Default: all.",
        ),
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Pairs that are shown, joined by commas. Default: all.")
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            help="Step rule of the main table, such as fixed, oracle, loss or change "
            "(docs/step-rules.md). Default: fixed and oracle.",
        ),
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            help="Show rows of frozen controls. They remain the reference of differences."
        ),
    ] = True,
    tables: Annotated[
        str | None,
        typer.Option(
            help="Tables that are shown, with their figures and files, joined by commas "
            "(main,sync; docs/reports.md lists them). Default: all.",
        ),
    ] = None,
    names: Annotated[
        str,
        typer.Option(
            help="Names of methods in print: proper (TENT), short (tent), or LABEL=TEXT joined by "
            "commas (mine=Ours). Data files have short names.",
        ),
    ] = "proper",
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Write the report again when cells arrive, until Ctrl-C."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write tables, figures and one HTML page from results.

    The page is OUT/index.html; `ttt-bench show` opens it. It begins with the answer, and each part
    names its files (CSV, Markdown, LaTeX, figures) and the command that makes its data.

    Without options everything is shown. A report that leaves something out says so.
    """
    from ttt_bench.report.selection.choices import Choices, names_of, parts_of

    folders = list(dict.fromkeys(results or [Request().results]))
    target = out or usual_folder(folders)
    given = {"methods": methods, "pairs": pairs, "rule": rule, "tables": tables, "names": names}
    raise_problems(
        f"--{option} is empty; name something, or omit the option"
        for option, text in given.items()
        if text is not None and not parts_of(text)
    )
    choices = Choices(
        methods=parts_of(methods),
        pairs=parts_of(pairs),
        rule=rule or "",
        controls=controls,
        tables=parts_of(tables),
        names=names_of(names),
    )
    if watch and as_json:
        raise BenchError("--watch prints no rows; omit --json")
    if watch:
        _watch(folders, target, choices)
    _write(folders, target, choices, as_json=as_json)


def _write(folders: Sequence[Path], out: Path, choices: Choices, *, as_json: bool) -> None:
    """Write the report, and print its main tables and answers, or its numbers."""
    from ttt_bench.report.render import report as render
    from ttt_bench.report.render import report_rows

    rendered = render(folders, out, choices)
    for note in rendered.notes:
        say(f"note: {note}")
    if as_json:
        print(json.dumps(report_rows(folders, choices), indent=1))
    own = rendered.tables if choices.tables else rendered.main
    for table in () if as_json else (*own, *rendered.further):
        show_table(table)
    for text in () if as_json else rendered.answers:
        stdout.print(f"\n{text}", markup=False)
    for problem in rendered.problems:
        say(f"left out: {problem}")
    say(f"report: {rendered.page}")


def _watch(folders: Sequence[Path], out: Path, choices: Choices) -> None:
    """Write the report whenever cells arrive, until the process is interrupted."""
    from ttt_bench.report.render import report as render
    from ttt_bench.report.selection.watching import follow, stamp

    def write() -> str:
        return _line(render(folders, out, choices))

    follow(lambda: stamp(folders), write, say)


def _line(rendered: Rendered) -> str:
    """Return what an update of a report tells."""
    return f"{datetime.now():%H:%M:%S} {rendered.summary}; report: {rendered.page}"


def show_report(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="A report folder, or a results folder that has a report. Default: results/run.",
            show_default=False,
            **AS_RESULTS,
        ),
    ] = None,
) -> None:
    """Open the page of a report in the browser, and print its path.

    Without a display, only the path is printed.
    """
    folder = folder or Request().results
    page = find_page(folder.parent if folder.name == PAGE else folder)
    print(page)
    if not (has_display() and webbrowser.open(page.as_uri())):
        say(f"no browser was opened; open this file in one: {page.as_uri()}")


def find_page(folder: Path) -> Path:
    """Return the page of a report, or of the report of a results folder in its usual place.

    Raises:
        BenchError: there is no such page.
    """
    places = [folder / PAGE, usual_folder([folder]) / PAGE]
    for place in places:
        if place.is_file():
            return place.absolute()
    if not folder.exists():
        raise BenchError(
            f"{shown(folder)} does not exist; name a report, or a results folder with a report"
        )
    if not (folder / "cells").is_dir():
        raise BenchError(
            f"{shown(folder)} is neither a report, which contains {PAGE}, nor a results folder, "
            "which contains cells/; `ttt-bench report --results FOLDER` writes the report of one"
        )
    raise BenchError(
        f"{places[1]} does not exist; `ttt-bench report --results {shown(folder)}` writes it"
    )


def has_display() -> bool:
    """Return whether a browser can show a window, or the user names a browser."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"))
