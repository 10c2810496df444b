"""`methods list`, `methods show` and `methods check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_bench.cli.options import Json, Sets, parse_settings
from ttt_bench.cli.output import Display, show, stdout
from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError
from ttt_bench.registry import GROUPS, METHODS, group_of
from ttt_bench.sweep.resolve import resolve

if TYPE_CHECKING:
    from ttt_bench.conformance import Result

FAILED, USAGE = 1, 2
"""Exit codes: a check failed; a method or a setting cannot be used."""
LOADING = "loading"
"""The one check of a method that cannot be loaded."""

app = typer.Typer(help="List, describe and check methods.", no_args_is_help=True)


@app.command("list")
def list_methods(as_json: Json = False) -> None:
    """List every registered method and the package that it comes from."""
    rows = [
        {
            "method": entry.name,
            "group": group_of(entry.name),
            "package": entry.package,
            "version": entry.version,
            "location": entry.location,
        }
        for entry in METHODS.entries()
    ]
    columns = ("method", "group", "package", "version", "location")
    show(rows, columns, title="methods", as_json=as_json)
    if not as_json:
        for group, meaning in GROUPS.items():
            stdout.print(f"--methods {group}: {meaning}", markup=False)


@app.command("show")
def show_method(
    name: Annotated[str, typer.Argument(help="Name of the method.")],
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Describe a method: its source training, its updates, its cost and its options."""
    from ttt_bench.describe.card import card_rows, option_rows

    settings = parse_settings(sets)
    resolve(Request(set=settings))
    card, options = card_rows(name, settings), option_rows(name)
    if as_json:
        extra = [{"field": f"option {row['option']}", "value": row} for row in options]
        show([*card, *extra], ("field", "value"), title="", as_json=True)
        return
    show(card, ("field", "value"), title=name, as_json=False)
    columns = ("option", "paper", "original", "range", "meaning", "citation")
    show(options, columns, title="options and settings", as_json=False)
    stdout.print(
        f"Set an option with --set {name}.OPTION=VALUE; "
        "choose the column with --hparams paper|original.",
        markup=False,
    )


@app.command("check")
def check_methods(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of methods. Default: all.", show_default=False),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="timm backbone to run the checks on.")
    ] = "test_resnet",
    device: Annotated[str, typer.Option(help="Device: cpu, cuda, or cuda:N.")] = "cpu",
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Check that methods follow the rules of `ttt_bench.adapter.Adapter`.

    Runs each method on a small network and random images, which takes seconds. --set model.*
    chooses another network.

    The exit code is 1 if a check fails, and 2 if a method cannot be loaded, a setting is invalid,
    or the network lacks layers that the method needs.
    """
    wanted = names or list(METHODS.names())
    settings = parse_settings(sets)
    resolve(Request(methods=tuple(wanted), set=settings))
    found = _run_checks(wanted, settings, backbone, device)
    if not as_json:
        columns = ("method", "checks", "failed", "not_run")
        network = settings.get("model.architecture"), settings.get("model.backbone", backbone)
        title = f"conformance ({' on '.join(filter(None, network))}, {device})"
        show(_check_counts(found), columns, title=title, as_json=False)
    rows = [row for name, results in found.items() for row in _check_rows(name, results)]
    failed = [row for row in rows if not row["passed"]]
    show(
        rows if as_json or len(found) == 1 else failed,
        ("method", "check", "result"),
        title="checks" if len(found) == 1 else "failed checks",
        as_json=as_json,
        json_columns=("method", "check", "passed", "problem"),
    )
    if failed:
        raise typer.Exit(USAGE if any(row["check"] == LOADING for row in failed) else FAILED)


def _run_checks(
    names: Sequence[str], settings: Mapping[str, Any], backbone: str, device: str
) -> dict[str, list[Result]]:
    """Return every method's results; a method that does not load has one failed check."""
    from ttt_bench.adapt.device import find_device
    from ttt_bench.conformance import Result, check_method

    found: dict[str, list[Result]] = {}
    with Display().bar("checking", len(names)) as bar:
        for name in names:
            kept = (f"{name}.", "model.")
            own = {key: value for key, value in settings.items() if key.startswith(kept)}
            try:
                found[name] = check_method(METHODS.load(name), own, backbone, find_device(device))
            except BenchError as error:
                found[name] = [Result(LOADING, str(error))]
            bar.advance(note=name)
    return found


def _check_counts(found: Mapping[str, Sequence[Result]]) -> list[dict[str, Any]]:
    return [_check_count(name, results) for name, results in found.items()]


def _check_count(name: str, results: Sequence[Result]) -> dict[str, Any]:
    failed = [result for result in results if not result.passed]
    not_run = sum(not result.ran for result in failed)
    counts = {"checks": len(results), "failed": len(failed) - not_run, "not_run": not_run}
    return {"method": name, **counts}


def _check_rows(name: str, results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        {
            "method": name,
            "check": result.check,
            "passed": result.passed,
            "problem": result.problem,
            "result": result.problem or "ok",
        }
        for result in results
    ]
