"""`compare`: the command that compares two rows, or two results folders, with intervals."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_bench.cli.options import AS_PATH, Json, Results
from ttt_bench.cli.output import say, show_table
from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError
from ttt_bench.util.store import mirror
from ttt_bench.util.store.address import results_path
from ttt_bench.util.store.address import shown as shown_path

if TYPE_CHECKING:
    from ttt_bench.analysis.comparing.compared import Compared
    from ttt_bench.analysis.results import Results as OpenResults
    from ttt_bench.report.compare.content import Shown

WORSE = 3
"""Exit code if A is worse than B by more than a limit allows."""
IMAGES = 5
"""Images that are shown by default if one pair of rows is compared."""
HINT = "choose another file"


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a results folder, and a row of it or None for all rows."""

    folder: Path
    row: str | None


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help='A row of the results folder (s4t, "tent (frozen)"), another results folder, or '
            "FOLDER:ROW.",
            show_default=False,
        ),
    ],
    b: Annotated[
        str, typer.Argument(metavar="B", help="What A is compared with.", show_default=False)
    ],
    *,
    results: Results = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Methods whose rows are compared if A and B are folders. Default: all."),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(help="Domain pair. May be given several times. Default: all."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Protocols, joined by commas. Default: all.")
    ] = None,
    rule: Annotated[str, typer.Option(help="Step rule.")] = "fixed",
    seeds: Annotated[
        str | None, typer.Option(help="Seeds, joined by commas. Default: those of both rows.")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Tasks, also of Delta_TTT, joined by commas. Default: all."),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Images to show on which A and B differ most. Default: 5 for one pair of rows, "
            "otherwise 0.",
            show_default=False,
        ),
    ] = None,
    allow: Annotated[
        str | None,
        typer.Option(
            help="What may differ between two folders: entries of the manifests joined by commas "
            "(target,batch), or all. Default: nothing that decides on data, scoring or steps."
        ),
    ] = None,
    fail_if_worse: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK:MARGIN",
            help="Exit with code 3 if the mean of A is worse than that of B by more than MARGIN, "
            "in the unit of the task's metric; `delta` stands for Delta_TTT, in points. May be "
            "given several times.",
        ),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="File for the tables as Markdown.", **AS_PATH)
    ] = None,
    latex: Annotated[
        Path | None,
        typer.Option(help="File for the tables as LaTeX; FILE_notes for their notes.", **AS_PATH),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two rows, or two results folders: differences A - B with 95 % intervals.

    A and B are rows of one results folder (--results), or results folders, whose rows of equal
    names are compared. A folder that contains cells/ is a results folder. FOLDER:ROW is one row of
    a folder; if only one of A and B names a row, the other one is the row of the same name.
    """
    from ttt_bench.analysis.limits import exceeded, limit
    from ttt_bench.report.compare.content import shown

    limits = [limit(text) for text in fail_if_worse or []]
    default = results or Request().results
    first, second = side(a, default), side(b, default)
    selection = {
        "methods": _split(methods),
        "pairs": pair or None,
        "protocols": _split(protocol),
        "seeds": _seeds(seeds),
        "tasks": _split(tasks),
    }
    if methods is not None and (first.row or second.row):
        raise BenchError("--methods selects rows of two results folders; omit it if a row is named")
    compared = _compared(first, second, selection, _split(allow) or [])
    count = images if images is not None else IMAGES * (len(compared.pairs) == 1)
    content = shown(compared, rule, images=count, sides=_words(first, second))
    _print(content, as_json=as_json)
    _write(content, markdown, latex)
    lines = exceeded(compared, content.found, limits) if limits else []
    for line in lines:
        say(line)
    if lines:
        raise typer.Exit(WORSE)


def side(text: str, results: Path) -> Side:
    """Return the folder and the row that an argument names.

    It is a results folder if it is the path of a folder that contains `cells`. Otherwise it is
    FOLDER:ROW if the part before a colon is such a path. Otherwise it is a row of `results`.

    Raises:
        BenchError: it is a path, but not of a results folder.
    """
    if _is_results(text):
        return Side(results_path(text), None)
    for place in (place for place, sign in enumerate(text) if sign == ":"):
        row = text[place + 1 :].strip()
        if row and _is_results(text[:place]):
            return Side(results_path(text[:place]), row)
    name = text.partition(" (")[0]
    if "/" in name or os.sep in name:
        raise BenchError(
            f"{text} is not a results folder, which contains cells/; give a results folder, "
            "FOLDER:ROW, or the name of a row"
        )
    return Side(results, text)


def _is_results(text: str) -> bool:
    if not text:
        return False
    folder = results_path(text)
    mirror.fetch(folder)
    return (folder / "cells").is_dir()


def _compared(
    first: Side, second: Side, selection: Mapping[str, Any], allow: list[str]
) -> Compared:
    """Return the rows of both sides, of the selected results (arguments of `Results.select`)."""
    from ttt_bench.analysis.comparing.compared import between, within

    ours = _opened(first.folder, selection)
    if first.folder.resolve() == second.folder.resolve():
        a, b = first.row, second.row
        if a is None or b is None:
            raise BenchError(
                f"A and B are of one folder, {first.folder}; name a row of it for each"
            )
        return within(ours.evidence, a, b)
    theirs = _opened(second.folder, selection)
    return between(
        ours.evidence,
        theirs.evidence,
        a=first.row,
        b=second.row,
        methods=ours.methods,
        allow=allow,
    )


def _opened(folder: Path, selection: Mapping[str, Any]) -> OpenResults:
    """Return the selected results of a folder, after its notes were printed."""
    from ttt_bench.analysis.results import open_results

    found = open_results(folder)
    for note in found.notes:
        say(f"note: {note}")
    return found.select(**selection)


def _words(first: Side, second: Side) -> str:
    if first.folder == second.folder:
        return ""
    return f"A: {shown_path(first.folder)}, B: {shown_path(second.folder)}"


def _split(text: str | None) -> list[str] | None:
    """Return the parts of a text with commas; None without one."""
    if text is None:
        return None
    return [part.strip() for part in text.split(",") if part.strip()]


def _seeds(text: str | None) -> list[int] | None:
    parts = _split(text)
    if parts is None:
        return None
    if not all(part.isdecimal() for part in parts):
        raise BenchError(f"--seeds {text}: give whole numbers joined by commas, such as 0,1,2")
    return [int(part) for part in parts]


def _print(content: Shown, *, as_json: bool) -> None:
    from ttt_bench.report.compare.records import records
    from ttt_bench.report.compare.tables import tables
    from ttt_bench.report.formats.console import ConsoleTable

    if as_json:
        print(json.dumps(records(content), indent=1))
        return
    for table in tables(content):
        show_table(ConsoleTable(table))


def _write(content: Shown, markdown: Path | None, latex: Path | None) -> None:
    """Write the tables to the files that are given."""
    from ttt_bench.report.compare.tables import tables
    from ttt_bench.report.formats.latex.table import notes_latex, to_latex
    from ttt_bench.report.formats.markdown import to_markdown

    found = tables(content)
    if markdown is not None:
        _write_file(markdown, map(to_markdown, found))
    if latex is not None:
        labels = [f"tab:compare-{number}" for number in range(1, len(found) + 1)]
        _write_file(latex, map(to_latex, found, labels))
        notes = latex.with_name(f"{latex.stem}_notes{latex.suffix}")
        _write_file(notes, map(notes_latex, found))


def _write_file(path: Path, texts: Iterable[str]) -> None:
    from ttt_bench.util.atomic import atomic_file

    with atomic_file(path, HINT) as temporary:
        temporary.write_text("\n".join(texts), encoding="utf-8")
    say(f"written: {path}")
