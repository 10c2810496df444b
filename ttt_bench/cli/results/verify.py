"""`results verify`: the command that checks every stored file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ttt_bench.cli.options import Json
from ttt_bench.cli.output import Display, say
from ttt_bench.cli.results.arguments import (
    INCOMPLETE,
    Folder,
    counted,
    print_json,
    say_all,
)

if TYPE_CHECKING:
    from ttt_bench.results.maintenance.verify import Verified


def verify(
    path: Folder,
    set_aside: Annotated[
        bool,
        typer.Option(
            "--set-aside", help="Move damaged cells and files to quarantine/ in the folder."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare every file of a results folder with its digest, and name the damaged ones.

    Exit code 1 if a file is damaged or cannot be read. Nothing is written without --set-aside.
    `run` computes cells again that were set aside.
    """
    from ttt_bench.results.maintenance.verify import set_findings_aside
    from ttt_bench.results.maintenance.verify import verify as check

    found = check(path, Display())
    moved, kept = set_findings_aside(path, found.findings) if set_aside else ([], [])
    if as_json:
        print_json({**_record(found), "set_aside": moved, "kept": kept})
    else:
        _show(found)
        say_all("set aside", moved)
        say_all("note", kept)
    if found.findings:
        raise typer.Exit(INCOMPLETE)


def _show(found: Verified) -> None:
    for finding in found.findings:
        say_all("damaged" if finding.damaged else "unreadable", [finding.problem])
    if found.leftovers:
        say(
            f"note: {len(found.leftovers)} temporary files of other processes; `ttt-bench results "
            "gc` lists those that can be removed"
        )
    if found.quarantined is not None:
        say(f"note: {found.quarantined} has damaged files that were set aside before")
    say_all("not part of a results folder", map(str, found.others))
    units = {finding.unit for finding in found.findings}
    print(f"{counted(found.checked)} checked: {len(units)} damaged or unreadable")


def _record(found: Verified) -> dict[str, object]:
    return {
        "checked": found.checked,
        "damaged": [
            {
                "kind": finding.kind,
                "path": finding.path,
                "unit": finding.unit,
                "problem": finding.problem,
                "damaged": finding.damaged,
            }
            for finding in found.findings
        ],
        "leftovers": found.leftovers,
        "quarantine": found.quarantined,
        "other": found.others,
    }
