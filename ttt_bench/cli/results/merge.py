"""`results merge`: the command that joins results folders."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ttt_bench.cli.options import Json
from ttt_bench.cli.output import Display
from ttt_bench.cli.results.arguments import AS_LOCAL, INCOMPLETE, counted, print_json, say_all


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...", help="The results folders to join.", show_default=False, **AS_LOCAL
        ),
    ],
    *,
    into: Annotated[
        Path,
        typer.Option(
            help="The joined results folder; it is created if it is missing.",
            show_default=False,
            **AS_LOCAL,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Copy the cells, source models, studies and measurements of results folders into one.

    Every file is verified. Cells with equal rows count once. If two folders have different rows for
    one cell, both are named with the largest difference, nothing of the cell is written, and the
    exit code is 1. The order of the folders makes no difference. The same command resumes.
    """
    from ttt_bench.results.maintenance.merge import merge as join

    merged = join(sources, into, Display())
    if as_json:
        print_json(asdict(merged))
    else:
        say_all("note", merged.notes)
        say_all("left out", merged.left_out)
        say_all("conflict", merged.conflicts)
        print(
            f"{into}: {counted(merged.copied)} copied; {counted(merged.equal)} equal; "
            f"{len(merged.conflicts)} conflicts"
        )
    if not merged.complete:
        raise typer.Exit(INCOMPLETE)
