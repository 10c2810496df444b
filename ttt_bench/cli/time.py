"""`time`: the command that measures inference times."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_bench.cli.options import Json, request_options
from ttt_bench.cli.output import Display, say, show, show_table
from ttt_bench.config.request import Request

if TYPE_CHECKING:
    import pandas as pd

    from ttt_bench.studies.timing.run import TimingPlan

SECONDS = 30.0
"""Seconds after which a phase of a method is no longer repeated."""
_COLUMNS = ("method", "phase", "steps", "median", "q1", "q3", "repeats", "settled")


@request_options("methods", "pair", "preset", "hparams", "set", "device", "results")
def time_methods(
    request: Request,
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the methods and their state, and time nothing.")
    ] = False,
    seconds: Annotated[
        float,
        typer.Option(
            help="Seconds after which a phase of a method is no longer repeated.", min=0.01
        ),
    ] = SECONDS,
    as_json: Json = False,
) -> None:
    """Measure seconds per batch: a prediction, a step, all steps, and the reset.

    Images are random and weights untrained, so neither data nor training are needed. Default
    sizes: those of taskonomy:nyud under the preset paper.

    Each method is stored in the results folder when it is done: the same command resumes. `report`
    shows the times next to those that S4T prints.
    """
    from ttt_bench.studies.timing.run import plan_timings

    planned = plan_timings(request)
    if plan:
        show_timing_plan(planned, as_json=as_json)
        return
    complete = compute_timings(planned, Display(), seconds)
    _show(planned, as_json=as_json)
    if not complete:
        raise typer.Exit(1)


def show_timing_plan(planned: TimingPlan, *, as_json: bool) -> None:
    """Print the methods of a plan and whether they have been timed."""
    show(timing_states(planned), ["method", "steps", "state"], title="timings", as_json=as_json)


def timing_states(planned: TimingPlan) -> list[dict[str, Any]]:
    """Return method, steps and state of every timing of a plan."""
    missing = {one.adapter.name for one in planned.missing()}
    return [
        {
            "method": one.adapter.name,
            "steps": one.steps,
            "state": "missing" if one.adapter.name in missing else "done",
        }
        for one in planned.methods
    ]


def compute_timings(planned: TimingPlan, display: Display, seconds: float = SECONDS) -> bool:
    """Time the missing methods, name those that cannot be timed, and return whether none failed.

    Args:
        planned: the plan.
        display: shows progress.
        seconds: seconds after which a phase of a method is no longer repeated.
    """
    from ttt_bench.studies.timing.run import run_timings

    failed = run_timings(planned, display, seconds)
    for method, reason in failed.items():
        say(f"{method} cannot be timed: {reason}")
    return not failed


def _show(planned: TimingPlan, *, as_json: bool) -> None:
    """Print the times of a plan's methods."""
    from ttt_bench.report.formats.console import ConsoleTable
    from ttt_bench.report.timing.table import timing_sections
    from ttt_bench.results.measurements import read
    from ttt_bench.results.timings import KIND

    found, problems = read(planned.request.results, KIND)
    own = [one for one in found if one.key in set(planned.keys.values())]
    if as_json:
        frames = [one.rows.assign(method=one.manifest["method"]) for one in own]
        rows: list[dict[str, Any]] = [row for frame in frames for row in _records(frame)]
        show(rows, _COLUMNS, title="", as_json=True)
        return
    for section in timing_sections(own):
        for part in section.parts:
            if part.table is not None:
                show_table(ConsoleTable(part.table))
    for problem in problems:
        say(problem)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame, with Python's numbers."""
    found: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return found
