"""`study`: commands that vary one thing and show what depends on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from typer.core import TyperGroup

from ttt_bench.cli.options import LAUNCH_FIELDS, SWEEP_FIELDS, Json, ReportFolder, request_options
from ttt_bench.cli.output import Display, say, show
from ttt_bench.cli.run import compute_cells, show_plan
from ttt_bench.cli.time import compute_timings, timing_states
from ttt_bench.config.request import MAX_STEPS, Request
from ttt_bench.designs.declared_studies import STUDIES, declared, find_studies
from ttt_bench.designs.study import Study
from ttt_bench.errors import BenchError
from ttt_bench.results.schema import FINISHED

if TYPE_CHECKING:
    from ttt_bench.studies.affinity import AffinityPlan
    from ttt_bench.studies.declared import StudyPlan
    from ttt_bench.studies.timing.run import TimingPlan


class _StudyGroup(TyperGroup):
    """A group whose other names are those of studies, which `declared` runs."""

    # the classes of click are in `click` or in `typer`, depending on the version
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Return the command of the first argument, with the arguments that it takes."""
        if args and (args[0] in self.commands or args[0].startswith("-")):
            return super().resolve_command(ctx, args)
        return _DECLARED, self.commands[_DECLARED], args


def _without(*names: str) -> tuple[str, ...]:
    """Return the fields of a sweep without those that a command sets itself."""
    return tuple(name for name in SWEEP_FIELDS if name not in names)


_DECLARED = "run"
_PLAN_COLUMNS = ("study", "pair", "arm", "cells", "finished")

app = typer.Typer(
    cls=_StudyGroup,
    help="Make the papers' tables and figures: `study NAME...`, with names from `study list`, the "
    "path of a TOML file, or all.",
    no_args_is_help=True,
    subcommand_metavar="NAME... | COMMAND",
)

Plan = Annotated[
    bool, typer.Option("--plan", help="Print the cells and their state, and run nothing.")
]

_HEADS = {
    "method": "method",
    "quantity": "quantity",
    "best_lr": "best rate",
    "best_steps": "steps",
    "best_change_percent": "change %",
    "chosen_lr": "chosen rate",
    "chosen_change_percent": "change there %",
}
"""Columns of the console, and how they are called there."""


@app.command("list")
def list_studies(*, as_json: Json = False) -> None:
    """List the studies, and the published tables and figures that they answer."""
    rows = [_listed(declared(name)) for name in STUDIES]
    show(rows, list(rows[0]), title="studies", as_json=as_json)
    if not as_json:
        say("run: ttt-bench study NAME --pair SOURCE:TARGET; several names, or all, share cells")
        say("ttt-bench study rate shows the scores over learning rates and steps")


def _listed(study: Study) -> dict[str, Any]:
    return {
        "study": study.name,
        "title": study.title,
        "answers": "; ".join(study.answers),
        "methods": ", ".join(study.methods),
        "arms": len(study.all_arms),
    }


@app.command(_DECLARED, hidden=True)
@request_options(*_without("control"), *LAUNCH_FIELDS)
def run_studies(
    request: Request,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Names of `study list`, paths of TOML files, or all.",
            show_default=False,
        ),
    ],
    *,
    plan: Plan = False,
    as_json: Json = False,
) -> None:
    """Compute the cells of studies, for `ttt-bench report`.

    A study compares arms, which differ in methods, settings or a shift of the target. Its cells are
    ordinary cells of the results folder: a cell that another study or run has computed is not
    computed again, and the same command resumes the work.

    --methods replaces the methods of the studies that have all.
    """
    studies = find_studies(tuple(names))
    of_cells = [study for study in studies if study.measure == "cells"]
    affinities = [study for study in studies if study.measure == "affinity"]
    timings = [study for study in studies if study.measure == "timing"]
    display = Display()
    work = [
        *_cell_work(request, of_cells, display),
        *_affinity_work(request, affinities, display),
        *(_timings(*one, display) for one in _planned_timings(request, timings)),
    ]
    if plan:
        _show_plan([row for one in work for row in one.rows()], work, as_json=as_json)
        return
    complete = [one.compute() for one in work]
    if not all(complete):
        raise typer.Exit(1)


class _Work(NamedTuple):
    """A part of what the studies of a command need.

    Attributes:
        rows: returns the rows of the plan.
        sentence: returns what is left, in words.
        compute: does the work, and returns whether none of it failed.
    """

    rows: Callable[[], list[dict[str, Any]]]
    sentence: Callable[[], str]
    compute: Callable[[], bool]


def _cell_work(request: Request, studies: Sequence[Study], display: Display) -> list[_Work]:
    """Return the work of studies that measure cells; empty without any."""
    if not studies:
        return []
    from ttt_bench.results.study_files import write_study
    from ttt_bench.studies.declared import plan_studies, study_files
    from ttt_bench.sweep.forecast.summary import summarise

    planned = plan_studies(request, studies, display)

    def compute() -> bool:
        for file in study_files(planned):
            write_study(request.results, file, display.notice)
        return compute_cells(planned.sweep, display)

    def sentence() -> str:
        words = summarise(planned.sweep).sentence()
        return f"{words}. A cell that several arms share counts once"

    return [_Work(lambda: _arm_rows(planned), sentence, compute)]


def _affinity_work(request: Request, studies: Sequence[Study], display: Display) -> list[_Work]:
    """Return the work of studies that measure the affinity of tasks; empty without any."""
    if not studies:
        return []
    from ttt_bench.studies.affinity import plan_affinity

    pair = ", ".join(request.pair)
    planned = [(study, plan_affinity(request, study, display)) for study in studies]
    return [_affinities(plan, study, pair, display) for study, plan in planned]


def _affinities(plan: AffinityPlan, study: Study, pair: str, display: Display) -> _Work:
    from ttt_bench.studies.affinity import measure_affinity

    def rows() -> list[dict[str, Any]]:
        about = {"study": study.name, "pair": pair, "arm": "affinity (uses target labels)"}
        total = len(plan.planned)
        return [{**about, "cells": total, "finished": total - len(plan.pending)}]

    def sentence() -> str:
        return f"affinity: {len(plan.pending)} of {len(plan.planned)} to measure"

    def compute() -> bool:
        complete = measure_affinity(plan, display)
        say(f"affinity: {len(plan.planned) - len(plan.pending)} of {len(plan.planned)} stored")
        return complete

    return _Work(rows, sentence, compute)


def _planned_timings(request: Request, studies: Sequence[Study]) -> list[tuple[Study, TimingPlan]]:
    """Return the timings of studies that measure times, one plan per pair."""
    if not studies:
        return []
    from ttt_bench.studies.timing.run import plan_timings

    pairs = request.pair if "pair" in request.model_fields_set else (None,)
    own = [request.model_copy(update={"pair": (pair,)}) if pair else request for pair in pairs]
    return [(study, plan_timings(one)) for study in studies for one in own]


def _timings(study: Study, plan: TimingPlan, display: Display) -> _Work:
    def rows() -> list[dict[str, Any]]:
        states = [row["state"] for row in timing_states(plan)]
        about = {"study": study.name, "pair": plan.sizes.pair.name, "arm": "timings"}
        return [{**about, "cells": len(states), "finished": states.count("done")}]

    def sentence() -> str:
        return f"timings: {len(plan.missing())} of {len(plan.methods)} to measure"

    return _Work(rows, sentence, lambda: compute_timings(plan, display))


def _show_plan(rows: list[dict[str, Any]], work: Sequence[_Work], *, as_json: bool) -> None:
    """Print the arms of studies with the numbers of their cells, and what is left."""
    show(rows, _PLAN_COLUMNS, title="plan", as_json=as_json)
    for one in work:
        say(one.sentence())


def _arm_rows(planned: StudyPlan) -> list[dict[str, Any]]:
    results = planned.sweep.request.results
    from ttt_bench.sweep.shared.states import cell_states

    states = cell_states(planned.sweep.cells, results)
    finished = {name for name, state in states.items() if state in FINISHED}
    return [
        {
            "study": study.study.name,
            "pair": study.pair,
            "arm": one.arm.label,
            "cells": len(one.cells),
            "finished": len(finished.intersection(one.hashes)),
        }
        for study in planned.studies
        for one in study.arms
    ]


@app.command("rate")
@request_options(*_without("steps", "control", "agreement"))
def rate(
    request: Request,
    *,
    rates: Annotated[
        str,
        typer.Option(
            help="Learning rates, joined by commas (1e-6,1e-5). The chosen rate is added. "
            "Default: a thousandth to a thousand times each method's rate, one per factor of ten.",
            show_default=False,
        ),
    ] = "",
    steps: Annotated[
        str,
        typer.Option(
            help="Steps per batch, joined by commas (1,3,10). Each number is a separate run. "
            "Default: 1, a third of each method's steps, and all.",
            show_default=False,
        ),
    ] = "",
    out: ReportFolder = None,
    plan: Plan = False,
    as_json: Json = False,
) -> None:
    """Show every task's change over learning rates and steps, as a map per method.

    Tables state where each task peaks, how far the peaks are apart, and how wide the plateau of
    Delta_TTT is. The frozen control (rate 0) is part of the grid.

    The grid consists of ordinary cells of the results folder: the same command resumes it.
    """
    chosen_rates = _numbers("--rates", rates)
    chosen_steps = _whole_numbers("--steps", steps)
    from ttt_bench.report.rates.tables import rate_records
    from ttt_bench.studies.rate import plan_rates, rate_maps, study_request, write_rates

    wanted = study_request(request, chosen_steps)
    display = Display()
    study = plan_rates(wanted, chosen_rates, chosen_steps, display)
    if plan:
        show_plan(study.sweep, as_json=as_json)
        return
    complete = compute_cells(study.sweep, display)
    maps = rate_maps(study)
    paths = write_rates(study, maps, out or Path("reports") / wanted.results.name)
    _show(rate_records(maps), as_json=as_json)
    for folder in dict.fromkeys(path.parent for path in paths):
        say(f"maps and tables: {folder}")
    if not complete:
        raise typer.Exit(1)


def _show(records: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        show(records, list(records[0]), title="", as_json=True)
        return
    for pair in dict.fromkeys(record["pair"] for record in records):
        rows = [_headed(record) for record in records if record["pair"] == pair]
        title = f"{pair}: best learning rate and steps, change against Base"
        show(rows, list(_HEADS.values()), title=title, as_json=False)


def _headed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {head: record[key] for key, head in _HEADS.items()}


def _numbers(option: str, text: str) -> list[float]:
    """Return the positive numbers of a list that is joined by commas."""
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise BenchError(f"{option} takes numbers above 0, joined by commas, got {part!r}")
        found.append(value)
    return found


def _whole_numbers(option: str, text: str) -> list[int]:
    numbers = _numbers(option, text)
    if any(number != int(number) or number > MAX_STEPS for number in numbers):
        raise BenchError(f"{option} takes whole numbers from 1 to {MAX_STEPS:,}, got {text!r}")
    return [int(number) for number in numbers]
