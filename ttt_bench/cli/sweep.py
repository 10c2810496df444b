"""`run`, `report` and `train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ttt_bench.cli.output import Display, say, show_rows, stdout
from ttt_bench.config.merging import make_request
from ttt_bench.config.reading import parse_setting, read_config_file
from ttt_bench.config.request import Request
from ttt_bench.sweep.resolve import check_names

Json = Annotated[
    bool, typer.Option("--json", help="Print a JSON array of objects, alone on stdout.")
]
Methods = Annotated[
    str | None, typer.Option(help="'all', or names joined by commas (base,tent,s4t).")
]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "--pair",
        help="source:target, the target with a shift if wanted (taskonomy:nyud+fog@s3); repeatable.",
    ),
]
Variant = Annotated[str | None, typer.Option(help="Whose data handling: corrected or official.")]
Labels = Annotated[
    str | None,
    typer.Option(help="The classes of segmentation. [default: those that the pair shares]"),
]
Seeds = Annotated[str | None, typer.Option(help="Seeds joined by commas (0,1,2).")]
PresetName = Annotated[
    str | None, typer.Option("--preset", help="How much: smoke, quick or paper.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, section.key=value (s4t.mask_ratio=0.5)."),
]
Config = Annotated[
    Path | None, typer.Option(help="A TOML file with the same names as these options.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
Results = Annotated[
    Path | None, typer.Option(help="The results folder. [default: results/run]", show_default=False)
]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="The folder that holds taskonomy/ and so on. [env var: TTT_BENCH_DATA]"),
]


def _request(config: Path | None, sets: list[str] | None, **given: Any) -> Request:
    command_line = {key: value for key, value in given.items() if value is not None and value != []}
    if sets:
        command_line["set"] = dict(parse_setting(text) for text in sets)
    request = make_request(read_config_file(config) if config else {}, command_line)
    check_names(request)  # before PyTorch is loaded, so that a slip of the pen is answered at once
    return request


def run(
    methods: Methods = None,
    pair: Pairs = None,
    seeds: Seeds = None,
    steps: Annotated[int | None, typer.Option(help="Adaptation steps a batch.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="online, episodic, single-batch; several joined by commas.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            help="none, or frozen: learning rate 0, what a method's normalisation alone gives; or both."
        ),
    ] = None,
    preset: PresetName = None,
    hparams: Annotated[
        str | None, typer.Option(help="Whose settings: paper (S4T's protocol) or original.")
    ] = None,
    data_variant: Variant = None,
    stream: Annotated[
        str | None,
        typer.Option(
            help="The target's order: fixed, shuffled, continual:SHIFT,SHIFT,... or mixed:SHIFT,SHIFT,..."
        ),
    ] = None,
    label_space: Labels = None,
    sets: Sets = None,
    config: Config = None,
    device: Device = None,
    results: Results = None,
    data_root: DataRoot = None,
    source_weights: Annotated[
        Path | None, typer.Option(help="A source model of your own (safetensors).")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the cells and their state; do nothing else.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train or find the source models, adapt, and store what every task scored at every step."""
    request = _request(
        config,
        sets,
        methods=methods,
        pair=pair,
        seeds=seeds,
        steps=steps,
        protocol=protocol,
        control=control,
        preset=preset,
        hparams=hparams,
        data_variant=data_variant,
        stream=stream,
        label_space=label_space,
        device=device,
        results=results,
        data_root=data_root,
        source_weights=source_weights,
    )
    from ttt_bench.sweep.plan import plan_sweep
    from ttt_bench.sweep.runner import Runner

    display = Display()
    made = plan_sweep(request, display)
    if plan:
        _show_plan(made, as_json)
        return
    outcome = Runner(made, display).run()
    _show_summary(request.results, as_json)
    counts = (
        ", ".join(f"{number} {state}" for state, number in outcome.computed.items())
        or "nothing to compute"
    )
    say(f"cells: {counts}, {outcome.kept} already finished")
    say(
        f"results: {request.results}   (`ttt-bench report --results {request.results}` writes tables and figures)"
    )
    if outcome.computed.get("failed"):
        raise typer.Exit(1)


def _show_plan(made: Any, as_json: bool) -> None:
    records = [
        {
            "pair": cell.work.pair.name,
            "method": cell.method,
            "control": cell.control if cell.control != "none" else "",
            "protocol": cell.protocol,
            "seed": cell.seed,
            "steps": cell.settings.steps,
            "preset": cell.work.preset_name,
            "hparams": made.request.hparams,
            "settings": cell.identity["settings"],
            "state": "not_applicable" if cell.reason else cell.state(made.request.results),
            "reason": cell.reason,
            "config": cell.hash,
        }
        for cell in made.cells
    ]
    constant = {"preset", "hparams", "config"} if not as_json else set()
    columns = [column for column in records[0] if column not in constant]
    how = f"preset {records[0]['preset']}, hparams {records[0]['hparams']}"
    show_rows(records, columns, f"plan for {made.request.results} ({how})", as_json)


def _show_summary(results: Path, as_json: bool) -> None:
    from ttt_bench.report.render import summary_rows, summary_tables

    if as_json:
        print(json.dumps(summary_rows(results), indent=1))
        return
    for table in summary_tables(results):
        stdout.print(table)


def report(
    results: Results = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write. [default: reports/<name of the results folder>]",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write tables, figures and one page from what a run has stored."""
    from ttt_bench.report.render import report as render

    folder = results or Request().results
    target = out or Path("reports") / folder.name
    rendered = render(folder, target)
    _show_summary(folder, as_json)
    say(f"report: {rendered.page}")


def train(
    pair: Pairs = None,
    methods: Methods = None,
    seeds: Seeds = None,
    preset: PresetName = None,
    hparams: Annotated[str | None, typer.Option(help="Whose settings: paper or original.")] = None,
    data_variant: Variant = None,
    label_space: Labels = None,
    sets: Sets = None,
    config: Config = None,
    device: Device = None,
    results: Results = None,
    data_root: DataRoot = None,
    as_json: Json = False,
) -> None:
    """Train the source models alone, and score them on held-out source images beside the
    position prior.
    """
    request = _request(
        config,
        sets,
        pair=pair,
        methods=methods,
        seeds=seeds,
        preset=preset,
        hparams=hparams,
        data_variant=data_variant,
        label_space=label_space,
        device=device,
        results=results,
        data_root=data_root,
    )
    from ttt_bench.sweep.plan import plan_sweep
    from ttt_bench.sweep.source_models import train_sources

    display = Display()
    made = plan_sweep(request, display)
    records = train_sources(made, display)
    columns = ["source", "model", "seed", "task", "metric", "score", "prior", "ratio", "checkpoint"]
    show_rows(
        records,
        columns,
        "held-out source images: source model beside the per-pixel mean of the training labels",
        as_json,
    )
    say(f"checkpoints: {made.checkpoints}")
