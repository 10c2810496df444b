"""`networks list`, `networks show` and `networks check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_bench.cli.options import Json, Sets, parse_settings
from ttt_bench.cli.output import show
from ttt_bench.config.request import Request
from ttt_bench.registry import NETWORKS
from ttt_bench.sweep.resolve import resolve

if TYPE_CHECKING:
    from ttt_bench.conformance import Result

FAILED = 1
"""Exit code: a check failed."""

app = typer.Typer(help="List, describe and check networks.", no_args_is_help=True)


@app.command("list")
def list_networks(as_json: Json = False) -> None:
    """List every registered network and the package that it comes from."""
    rows = [
        {
            "network": entry.name,
            "package": entry.package,
            "version": entry.version,
            "location": entry.location,
        }
        for entry in NETWORKS.entries()
    ]
    columns = ("network", "package", "version", "location")
    show(rows, columns, title="networks", as_json=as_json)


@app.command("show")
def show_network(
    name: Annotated[str, typer.Argument(help="Name of the network.")], as_json: Json = False
) -> None:
    """Describe a network: its tasks, its backbone and its options."""
    from ttt_bench.describe.network import network_rows

    show(network_rows(name), ("field", "value"), title=name, as_json=as_json)


@app.command("check")
def check_networks(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of networks. Default: all.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="Device: cpu, cuda, or cuda:N.")] = "cpu",
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Check that networks follow the rules of `ttt_bench.network.Network`.

    Builds each network on a small backbone, or on that of --set model.backbone, and runs it on
    random images, which takes seconds. The exit code is 1 if a check fails.
    """
    from ttt_bench.adapt.device import find_device
    from ttt_bench.conformance.networks import check_network

    settings = parse_settings(sets)
    resolve(Request(set=settings))
    kinds = {name: NETWORKS.load(name) for name in names or NETWORKS.names()}
    rows = [
        row
        for name, kind in kinds.items()
        for row in _rows(name, check_network(kind, settings, find_device(device)))
    ]
    show(
        rows,
        ("network", "check", "result"),
        title="checks",
        as_json=as_json,
        json_columns=("network", "check", "passed", "problem"),
    )
    if not all(row["passed"] for row in rows):
        raise typer.Exit(FAILED)


def _rows(name: str, results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        {
            "network": name,
            "check": result.check,
            "passed": result.passed,
            "problem": result.problem,
            "result": result.problem or "ok",
        }
        for result in results
    ]
