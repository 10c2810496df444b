"""`tune`: the command that chooses a learning rate per method on held-out source images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_bench.cli.options import AS_PATH, Json, request_options
from ttt_bench.cli.output import Display, say, show
from ttt_bench.cli.run import compute_cells, show_plan
from ttt_bench.config.request import Request
from ttt_bench.config.tuned import Tuned
from ttt_bench.designs.rates import FILE

if TYPE_CHECKING:
    from ttt_bench.config.tuned import Trial, TunedMethod

COLUMNS = (
    "method",
    "default_lr",
    "chosen_lr",
    "delta_ttt_default",
    "delta_ttt_chosen",
    "edge",
    "diverged",
    "trials",
)
_PRINTED = {"delta_ttt_default": "Delta default", "delta_ttt_chosen": "Delta chosen"}
"""Columns whose numbers are printed with the digits that the rule compares."""
HINT = "choose another file with --out"


@request_options(
    "methods",
    "steps",
    "protocol",
    "preset",
    "data_variant",
    "label_space",
    "set",
    "device",
    "deterministic",
    "train_devices",
    "results",
    "data_root",
    "source_weights",
    "check",
)
def tune(
    request: Request,
    *,
    source: Annotated[str, typer.Option(help="Source domain.")] = "rooms",
    shift: Annotated[
        str, typer.Option(help="Shifts of its images, as in a target (brightness@s2+jpeg@30).")
    ] = "brightness@s2",
    seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of source training and adaptation.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File of the chosen settings. Default: tuned.toml in the results folder.",
            show_default=False,
            **AS_PATH,
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the trials and their state, and run nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Choose a learning rate per method, with 16 trials each, on held-out source images.

    The images are those of the source's validation split under a shift. No image of a target has
    a part in the choice. `ttt-bench run --hparams tuned --tuned FILE` uses the chosen rates.

    Trials are ordinary cells of the results folder: the same command resumes them.
    """
    from ttt_bench.studies.tune import plan_tuning, tuned_of, tuning_request
    from ttt_bench.util.atomic import atomic_file

    wanted = tuning_request(request, source=source, shift=shift, seed=seed)
    display = Display()
    tuning = plan_tuning(wanted, display)
    if plan:
        show_plan(tuning.sweep, as_json=as_json)
        return
    if not compute_cells(tuning.sweep, display):
        raise typer.Exit(1)
    tuned = tuned_of(tuning)
    path = out or wanted.results / FILE
    with atomic_file(path, HINT) as temporary:
        temporary.write_text(tuned.text(), encoding="utf-8")
    _show(tuned, as_json=as_json)
    say(f"tuned: {path}   (`ttt-bench run --hparams tuned --tuned {path}` uses it)")


def _show(tuned: Tuned, *, as_json: bool) -> None:
    from ttt_bench.studies.tune import summary

    record = tuned.record
    rows = [{"method": name, **summary(method)} for name, method in tuned.methods.items()]
    if as_json:
        methods = tuned.model_dump(mode="json")["methods"]
        rows = [{**row, "record": methods[row["method"]]["trials"]} for row in rows]
        show(rows, COLUMNS, title="", as_json=True, json_columns=(*COLUMNS, "record"))
        return
    show(
        [_printed(row) for row in rows],
        [_PRINTED.get(column, column) for column in COLUMNS],
        title=f"learning rates on {record.pair} ({record.images} {record.split} images, "
        f"seed {record.seed}): {record.rule}",
        as_json=False,
    )
    show(
        _trial_rows(tuned.methods),
        ["rate / default", *tuned.methods],
        title="Delta_TTT of all trials in percent",
        as_json=False,
    )


def _trial_rows(methods: Mapping[str, TunedMethod]) -> list[dict[str, Any]]:
    """Return one row per rate, as a multiple of the default one, and one column per method."""
    first = next(iter(methods.values()))
    rows: list[dict[str, Any]] = []
    for number, trial in enumerate(first.trials):
        deltas = {name: _delta_text(method.trials[number]) for name, method in methods.items()}
        rows.append({"rate / default": f"{trial.lr / first.default_lr:.3g}", **deltas})
    return rows


def _printed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for the console."""
    return {**row, **{head: _decimals(row[key]) for key, head in _PRINTED.items()}}


def _delta_text(trial: Trial) -> str:
    return trial.state if trial.delta_ttt is None else _decimals(trial.delta_ttt)


def _decimals(delta: float | None) -> str:
    from ttt_bench.designs.rates import DECIMALS

    return "" if delta is None else f"{delta:.{DECIMALS}f}"
