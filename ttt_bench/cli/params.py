"""`params`: the command that counts the methods' parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ttt_bench.cli.options import AS_PATH, Json, Sets, parse_settings
from ttt_bench.cli.output import Display, say, show
from ttt_bench.config.preset import ModelConfig, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError
from ttt_bench.results.method_names import PROPER_NAMES
from ttt_bench.sweep.resolve import resolve
from ttt_bench.tasks import PAPER_TASKS, TASKS
from ttt_bench.util.atomic import require_writable

COLUMNS = (
    "method",
    "published",
    "millions",
    "total",
    "backbone",
    "heads",
    "added",
    "moved",
    "architecture",
)
_JSON_ONLY = ("millions", "architecture")


def params(
    *,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="timm backbone, as --set model.backbone. Default: that of the preset paper.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int,
        typer.Option(
            help="Number of classes of semantic segmentation. With 7 classes the four tasks have "
            "12 output channels.",
            min=2,
            max=255,
        ),
    ] = 7,
    tasks: Annotated[
        str, typer.Option(help=f"Tasks joined by commas: {', '.join(TASKS)}.")
    ] = ",".join(PAPER_TASKS),
    sets: Sets = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the table as parameters.md, .tex and .csv. Default: none.",
            show_default=False,
            **AS_PATH,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Count the trainable parameters of every method, in total and per part."""
    from ttt_bench.describe.parameters import parameter_rows

    settings = parse_settings(sets) | ({"model.backbone": backbone} if backbone else {})
    if "data.tasks" in settings:
        raise BenchError("data.tasks has no effect here; name the tasks with --tasks")
    resolve(Request(set=settings))
    names = [task.strip() for task in tasks.split(",")]
    model = resolve_preset("paper", settings).model
    rows = parameter_rows(model, names, classes=classes, settings=settings, progress=Display())
    network = f"{model.label}, tasks {tasks}, {classes} classes"
    if out is not None:
        _write(rows, network, out)
    show(
        rows,
        [column for column in COLUMNS if column not in _JSON_ONLY],
        title=f"trainable parameters, {network}",
        as_json=as_json,
        json_columns=COLUMNS,
    )
    if as_json:
        return
    for line in _published_lines(model, rows):
        say(line)
    say("moved: parameters that the method updates at test time")
    for row in rows:
        if row["added"]:
            say(f"{PROPER_NAMES.of(row['method'])}'s modules: {row['architecture']}")


def _published_lines(model: ModelConfig, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield where the published numbers come from, and each number of the strong baseline."""
    from ttt_bench.results.published import STRONG_BASELINE

    if all(row["published"] is None for row in rows):
        return
    if (model.architecture, model.backbone_name) != STRONG_BASELINE:
        yield "published: millions, from S4T's supplement, Table 6 (ResNet-50)"
        return
    for row in rows:
        if row["published"] is not None:
            network = (row["backbone"] + row["heads"]) / 1e6
            name = PROPER_NAMES.of(row["method"])
            yield (
                f"network: {network:.2f} M, with {name} {row['millions']} M (published "
                f"{row['published']} M, backbone HRNet-W48 inferred; S4T's supplement, Table 3)"
            )


def _write(rows: Sequence[Mapping[str, Any]], network: str, out: Path) -> None:
    """Write the table in every format to a folder."""
    from ttt_bench.report.formats.sections import table_files
    from ttt_bench.report.render import HINT, write_files
    from ttt_bench.report.settings.parameters import Counted, parameter_table
    from ttt_bench.report.tables import Note

    counted, modules = [], []
    for row in rows:
        method, published = row["method"], row["published"]
        title = PROPER_NAMES.of(method)
        counted.append(Counted(label=method, title=title, counts=row, published=published))
        modules += [Note(f"Modules of {title}", row["architecture"])] if row["added"] else []
    table = parameter_table("Trainable parameters", network, counted, modules)
    require_writable(out, HINT)
    files = table_files("parameters", table, "params")
    for path in write_files(out, {name: text.encode() for name, text in files.items()}):
        say(f"table: {path}")
