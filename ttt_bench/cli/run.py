"""`run`: the command that runs a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_bench.cli.options import LAUNCH_FIELDS, SWEEP_FIELDS, DryRun, Json, request_options
from ttt_bench.cli.output import Display, say, show, show_summary
from ttt_bench.config.request import Request
from ttt_bench.sweep.resolve import resolve
from ttt_bench.util.store.address import shown
from ttt_bench.util.text import readable_settings

if TYPE_CHECKING:
    from pathlib import Path

    from ttt_bench.sweep.cell import Cell
    from ttt_bench.sweep.forecast.summary import PlanSummary
    from ttt_bench.sweep.outcome import Outcome
    from ttt_bench.sweep.plan import Sweep

PLAN_COLUMNS = (
    "pair",
    "method",
    "control",
    "protocol",
    "seed",
    "steps",
    "preset",
    "hparams",
    "settings",
    "state",
    "reason",
    "seconds",
    "config",
)
_SAME_IN_ALL_ROWS = ("preset", "hparams", "config")


@request_options(*SWEEP_FIELDS, *LAUNCH_FIELDS)
def run(
    request: Request,
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the cells and their state, and run nothing.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train source models, adapt methods on the target, and store every task's scores.

    A finished cell (one method, pair, protocol, control and seed) is not computed again.

    Ctrl-C stops the run; the same command resumes it. Several runs on one results folder share the
    work, as do the processes of --workers. The exit code is 1 if a cell failed.
    """
    resolved = resolve(request)  # a misspelt name is refused before PyTorch is imported
    from ttt_bench.sweep.plan import plan_sweep

    display = Display()
    sweep = plan_sweep(resolved, display)
    if plan:
        show_plan(sweep, as_json=as_json)
        return
    if dry_run:
        show_launch(sweep, as_json=as_json)
        return
    outcome = _computed(sweep, display)
    wanted = [cell.hash for cell in sweep.cells]
    show_summary(request.results, as_json=as_json, wanted=wanted)
    _say_outcome(outcome, request.results)
    if outcome.incomplete:
        raise typer.Exit(1)


def compute_cells(sweep: Sweep, display: Display) -> bool:
    """Compute the cells of a sweep, print how they ended, and return whether none failed."""
    outcome = _computed(sweep, display)
    _say_outcome(outcome, sweep.request.results)
    return not outcome.incomplete


def _computed(sweep: Sweep, display: Display) -> Outcome:
    from ttt_bench.api import compute

    return compute(sweep, display)


def _say_outcome(outcome: Outcome, results: Path) -> None:
    """Print how the cells ended."""
    from ttt_bench.results.failures import describe_failures

    counts = ", ".join(f"{number} {state}" for state, number in outcome.computed.items())
    others = sum(outcome.shared.values())
    by_others = f", {others} computed by other runs meanwhile" if others else ""
    say(f"cells: {counts or 'nothing to compute'}, {outcome.kept} already finished{by_others}")
    where = shown(results)
    say(f"results: {where}   (`ttt-bench report --results {where}` writes tables and figures)")
    for line in describe_failures(outcome.failed):
        say(line)


def show_launch(sweep: Sweep, *, as_json: bool) -> None:
    """Print what the launcher would start: its script, or all of it as JSON."""
    from ttt_bench.sweep.launchers.drive import dry_run

    found = dry_run(sweep)
    print(json.dumps([asdict(found)], indent=1) if as_json else found.script)


def show_plan(sweep: Sweep, *, as_json: bool) -> None:
    """Print the cells of a sweep, their state, and how long the pending ones take."""
    from ttt_bench.sweep.forecast.summary import summarise

    summary = summarise(sweep)
    rows = [_plan_row(cell, sweep.request, summary) for cell in sweep.cells]
    shared = _shared_settings(rows)
    how = ", ".join([f"preset {rows[0]['preset']}", f"hparams {rows[0]['hparams']}", *shared])
    show(
        rows if as_json else [_without_settings(row, shared) for row in rows],
        [column for column in PLAN_COLUMNS if column not in _SAME_IN_ALL_ROWS],
        title=f"plan for {shown(sweep.request.results)} ({how})",
        as_json=as_json,
        json_columns=PLAN_COLUMNS,
    )
    say(summary.sentence())


def _settings_of(row: Mapping[str, Any]) -> list[str]:
    """Return the settings of a row of the plan, as a person reads them."""
    return readable_settings(row["settings"]).split("; ") if row["settings"] else []


def _shared_settings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the settings of all rows, which the title names once."""
    settings = [_settings_of(row) for row in rows]
    shared = set.intersection(*map(set, settings))
    return [one for one in settings[0] if one in shared]


def _without_settings(row: Mapping[str, Any], shared: Sequence[str]) -> dict[str, Any]:
    own = [one for one in _settings_of(row) if one not in shared]
    return {**row, "settings": "; ".join(own)}


def _plan_row(cell: Cell, request: Request, summary: PlanSummary) -> dict[str, Any]:
    return {
        "pair": cell.opened.pair.name,
        "method": cell.method,
        "control": cell.control if cell.control != "none" else "",
        "protocol": cell.protocol,
        "seed": cell.seed,
        "steps": cell.settings.steps,
        "preset": cell.opened.preset_name,
        "hparams": request.hparams,
        "settings": cell.identity["settings"],
        "state": summary.states[cell.hash],
        "reason": cell.reason,
        "seconds": summary.seconds(cell.hash),
        "config": cell.hash,
    }
