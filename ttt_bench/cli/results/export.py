"""`results export`: the command that packs a results folder into an archive."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ttt_bench.cli.options import Json
from ttt_bench.cli.output import Display
from ttt_bench.cli.results.arguments import AS_LOCAL, INCOMPLETE, Folder, print_json, say_all
from ttt_bench.util.text import format_bytes


def export(
    path: Folder,
    *,
    to: Annotated[
        Path,
        typer.Option(
            help="The archive, whose name ends with .zip or .tar.gz.",
            show_default=False,
            **AS_LOCAL,
        ),
    ],
    checkpoints: Annotated[
        bool,
        typer.Option("--checkpoints", help="Add the source models and source statistics."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Pack cells, studies and measurements with their SHA-256 sums and a page on the schema.

    Equal results give equal archives. Damaged cells are left out, with exit code 1. Any program
    unpacks the archive, and `sha256sum -c SHA256SUMS` checks it.
    """
    from ttt_bench.results.maintenance.archive import export as pack

    done = pack(path, to, Display(), checkpoints=checkpoints)
    if as_json:
        print_json(asdict(done))
    else:
        say_all("left out", done.left_out)
        print(f"{done.path}: {done.files:,} files, {format_bytes(done.size)}")
    if done.left_out:
        raise typer.Exit(INCOMPLETE)
