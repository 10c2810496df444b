"""`results gc`: the command that removes what no result needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ttt_bench.cli.options import Json
from ttt_bench.cli.output import say, show
from ttt_bench.cli.results.arguments import Folder, print_json, say_all
from ttt_bench.util.text import format_bytes

if TYPE_CHECKING:
    from ttt_bench.results.maintenance.unused import Item


def gc(
    path: Folder,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove what is listed. Default: only list it.")
    ] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Include damaged files that were set aside.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List, and with --delete remove, unused checkpoints and what ended processes left.

    A checkpoint is unused if no cell or measurement of the folder names it; a run that needs it
    trains it again. Checkpoints are kept while a process computes in the folder.
    """
    from ttt_bench.results.maintenance.unused import remove, unused

    found = unused(path, quarantine=quarantine)
    removed, kept = remove(path, found.items) if delete else ([], [])
    notes = [*found.kept, *kept]
    if as_json:
        print_json({"unused": _rows(found.items), "removed": _rows(removed), "kept": notes})
        return
    show(_rows(found.items), ["path", "bytes", "why"], title="not needed", as_json=False)
    say_all("note", notes)
    if delete:
        print(f"{len(removed)} removed, {format_bytes(sum(item.size for item in removed))}")
        return
    print(f"{len(found.items)} not needed, {format_bytes(found.size)}")
    if found.items:
        say("--delete removes them")


def _rows(items: list[Item] | tuple[Item, ...]) -> list[dict[str, object]]:
    return [{"path": str(item.path), "bytes": item.size, "why": str(item.why)} for item in items]
