"""`reproduce`: the command that runs cells again from their manifests."""

from __future__ import annotations

import json
import math
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_bench.cli.options import AS_PATH, DataRoot, Json, field_option
from ttt_bench.cli.output import Display, say, show

if TYPE_CHECKING:
    from ttt_bench.studies.reproduce import Here, Repeated

COLUMNS = ("table", "quantity", "numbers", "largest")


def reproduce(
    manifests: Annotated[
        list[Path],
        typer.Argument(
            metavar="MANIFEST...",
            help="Cells to run again: their manifest.json, or their folders.",
            show_default=False,
            **AS_PATH,
        ),
    ],
    *,
    results: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the repeated cells and their source models. Default: a temporary "
            "folder.",
            show_default=False,
            **AS_PATH,
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            help="Largest allowed difference of a score, in the unit of its metric. 0: all stored "
            "numbers must be equal, bit for bit. Default: 0.",
            show_default=False,
        ),
    ] = 0.0,
    device: Annotated[
        str | None,
        typer.Option(
            help="Device: auto, cpu, cuda, or cuda:N. Default: as the record states.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="CPU threads. Default: as many as the record states.",
            show_default=False,
        ),
    ] = None,
    train_devices: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=64,
            help="Devices that train a source model. Default: as many as the record states.",
            show_default=False,
        ),
    ] = None,
    data_root: DataRoot = None,
    source_weights: Annotated[Path | None, field_option("source_weights")] = None,
    as_json: Json = False,
) -> None:
    """Run finished cells again from their manifests, and show the largest differences.

    All scores, statistics and losses are compared. What differs between the two computations
    (code, packages, device, threads) is named. Cells whose data differ are refused.

    The exit code is 1 if a cell does not agree within the tolerance.
    """
    place = nullcontext(str(results)) if results else tempfile.TemporaryDirectory()
    with place as folder:
        from ttt_bench.studies.reproduce import Here

        here = Here(
            results=Path(folder),
            device=device,
            threads=threads,
            train_devices=train_devices,
            data_root=data_root,
            source_weights=source_weights,
        )
        found = _repeated(manifests, here)
    if as_json:
        print(json.dumps([_record(one, tolerance) for one in found], indent=1))
    else:
        for one in found:
            _show(one, tolerance)
    if not all(one.within(tolerance) for one in found):
        raise typer.Exit(1)


def _repeated(manifests: list[Path], here: Here) -> list[Repeated]:
    """Return the repeated cells; all of them are planned before the first one is computed."""
    from ttt_bench.studies.reproduce import plan_repeat, read_record, repeat

    display = Display()
    records = [read_record(path) for path in manifests]
    planned = [(record, plan_repeat(record, here, display)) for record in records]
    return [repeat(record, sweep, here, display) for record, sweep in planned]


def _show(one: Repeated, tolerance: float) -> None:
    rows = [vars(difference) for difference in one.numbers]
    show(rows, COLUMNS, title=f"{one.recorded.title}: largest differences", as_json=False)
    for name, (before, now) in one.differs.items():
        say(f"differs: {name} is {before} in the record and {now} here")
    say(f"{one.recorded.title}: {_verdict(one, tolerance)}")


def _verdict(one: Repeated, tolerance: float) -> str:
    if not one.same_state:
        return f"not reproduced: it ended as {one.state}"
    if one.bit_equal:
        return "bit-equal"
    words = f"largest difference of a score {one.largest:.3g}"
    if one.within(tolerance):
        return f"reproduced within {tolerance:g}: {words}"
    return f"not equal: {words} (--tolerance {tolerance:g})"


def _record(one: Repeated, tolerance: float) -> dict[str, Any]:
    return {
        "cell": one.recorded.title,
        "folder": str(one.recorded.folder),
        "state": one.state,
        "bit_equal": one.bit_equal,
        "within_tolerance": one.within(tolerance),
        "largest": _finite(one.largest),
        "differs": {
            name: {"record": before, "here": now} for name, (before, now) in one.differs.items()
        },
        "numbers": [
            {**vars(difference), "largest": _finite(difference.largest)}
            for difference in one.numbers
        ],
    }


def _finite(number: float) -> float | None:
    """Return a number, or None for an infinite one, which JSON does not have."""
    return number if math.isfinite(number) else None
