"""`data list`, `data show`, `data check` and, with its own module, `data prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_bench.cli import prepare
from ttt_bench.cli.output import Display, about_root, say, show_rows, stdout
from ttt_bench.cli.sweep import Config, DataRoot, Json, PresetName, Sets, Variant
from ttt_bench.data.label_spaces import LABEL_SPACES, label_space_from
from ttt_bench.errors import BenchError, unknown

if TYPE_CHECKING:
    from ttt_bench.config.request import Request
    from ttt_bench.data.base import Dataset
    from ttt_bench.datatools.check import Finding
    from ttt_bench.registry import Entry

app = typer.Typer(help="Look at data, check them, and make them ready.", no_args_is_help=True)
app.add_typer(prepare.app, name="prepare")


@app.command("list")
def list_domains(data_root: DataRoot = None, as_json: Json = False) -> None:
    """Every data set, those of other packages too: what it has, and whether its files are there."""
    from ttt_bench.config.merging import default_data_root
    from ttt_bench.data.registry import DATASETS

    root = data_root or default_data_root()
    records = [_record(entry, root) for entry in DATASETS.entries()]
    columns = ["name", "description", "tasks", "label_spaces", "data", "package"]
    if as_json:
        show_rows(records, columns, "", True)
        return
    # most are the harness's own, which then need no word
    shown = [r | {"package": ""} if r["package"] == "ttt-bench" else r for r in records]
    show_rows(shown, ["name", "description", "tasks", "data", "package"], "data sets", False)
    stdout.print(f"{about_root(root)}\n", markup=False)
    spaces = [
        {
            "label space": space.name,
            "classes": ", ".join(space.classes),
            "data sets": ", ".join(r["name"] for r in records if space.name in r["label_spaces"]),
        }
        for space in LABEL_SPACES.values()
    ]
    show_rows(
        spaces, ["label space", "classes", "data sets"], "label spaces (--label-space)", False
    )


def _record(entry: Entry, root: Path | None) -> dict[str, Any]:
    """What a listing says of a data set; of a broken one why it is, so that it does not hide the
    others.
    """
    from ttt_bench.data.open import is_there
    from ttt_bench.data.registry import DATASETS

    try:
        domain = DATASETS.load(entry.name)
    except BenchError as error:
        return {
            "name": entry.name,
            "description": f"broken: {error}",
            "label_spaces": [],
            "package": entry.origin,
        }
    data = (
        "embedded"
        if domain.embedded
        else "there"
        if is_there(domain, root)
        else f"lacks {domain.folder}/"
    )
    return {
        "name": entry.name,
        "description": domain.description,
        "tasks": ", ".join(domain.tasks),
        "label_spaces": [
            space.name for space in LABEL_SPACES.values() if domain.ids_of(space) is not None
        ],
        "data": data,
        "package": entry.origin,
    }


@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A data set, its images under shifts if wanted: rooms, nyud+gaussian_noise@0.1."
        ),
    ],
    count: Annotated[
        int, typer.Option(help="How many images, evenly spread over the split.", min=1, max=64)
    ] = 8,
    split: Annotated[str, typer.Option(help="train, val, test or tune.")] = "test",
    preset: PresetName = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="HEIGHTxWIDTH. [default: the preset's, as a run has it]", show_default=False
        ),
    ] = None,
    data_variant: Variant = None,
    label_space: Annotated[
        str | None,
        typer.Option(
            help="The classes of segmentation. [default: the first that the data set has]"
        ),
    ] = None,
    sets: Sets = None,
    config: Config = None,
    out: Annotated[
        Path | None, typer.Option(help="The PNG file. [default: NAME.png]", show_default=False)
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Write a contact sheet: images and their labels, as a run sees them."""
    from ttt_bench.config.merging import make_request
    from ttt_bench.config.reading import parse_setting, read_config_file
    from ttt_bench.data.images.files import spread

    given = {
        "preset": preset,
        "data_variant": data_variant,
        "label_space": label_space,
        "set": dict(parse_setting(text) for text in sets or []),
        "data_root": data_root,
    }
    request = make_request(read_config_file(config) if config else {}, given)
    display, path = Display(), out or Path(f"{name}.png")
    dataset, classes = _opened(name, split, size, count, request, display)
    for notice in dataset.notices:
        display.notice(notice)
    from ttt_bench.datatools.show import contact_sheet

    contact_sheet(dataset, spread(len(dataset), count), classes, path)
    say(f"contact sheet: {path}")


def _opened(
    name: str, split: str, size: str | None, count: int, request: Request, display: Display
) -> tuple[Dataset, tuple[str, ...]]:
    """A split as a run would see it, and the names of its classes; so many images where they are
    rendered.
    """
    from ttt_bench.config.preset import resolve_preset
    from ttt_bench.data.domains import shared_labels
    from ttt_bench.data.open import open_domain
    from ttt_bench.data.registry import DATASETS
    from ttt_bench.data.rooms.looks import SPLITS
    from ttt_bench.data.shifts.kinds import parse_target
    from ttt_bench.data.variants import find_variant

    plain, shifts = parse_target(name)
    domain = DATASETS.load(plain)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    own = {space: label_space_from(space, table) for space, table in request.label_spaces.items()}
    labels = shared_labels([domain], request.label_space, own)
    settings = resolve_preset(
        request.preset or ("quick" if domain.embedded else "paper"), request.set
    ).data
    chosen = (
        _parse_size(size)
        if size
        else settings.size(plain, "source" if split in ("train", "val") else "target")
    )
    from ttt_bench.data.shifts.views import ShiftedDataset
    from ttt_bench.sweep.opened import cache_folder

    dataset = open_domain(
        domain,
        split,
        chosen,
        count,
        data_root=request.data_root,
        cache=cache_folder(),
        progress=display,
        space=labels,
        variant=find_variant(request.data_variant),
        subset=settings.test_subset,
    )
    if domain.embedded:  # files are looked at when they are read, and only those that are drawn
        dataset.prepare(display)
    return ShiftedDataset(
        dataset, shifts, settings.seed
    ) if shifts else dataset, labels.classes if labels else ()


def _parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and min(int(height), int(width)) >= 16):
        raise typer.BadParameter(
            f"--size takes HEIGHTxWIDTH of at least 16x16 (such as 64x80), got {text!r}"
        )
    return int(height), int(width)


def _with_example(finding: Finding) -> str:
    return (
        f"{finding.message}\n  {finding.path}"
        if finding.path and finding.level != "ok"
        else finding.message
    )


@app.command("check")
def check(
    root: Annotated[
        Path, typer.Argument(help="A data root, one data set's folder, or a single normal map.")
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings make the exit code 1.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Decode every frame, not 200 of them.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Do not keep what was measured in the data set's ttt-bench.json."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Look data sets over, measure their conventions, and keep what was measured for the loaders.

    Exit code 0: fine; 1: warnings, with --strict; 2: unusable.
    """
    from ttt_bench.datatools.check import check as look
    from ttt_bench.datatools.check import exit_code

    findings = look(root, Display(), full=full, store=not dry_run)
    records = [
        {
            "level": f.level,
            "check": f.check,
            "message": f.message,
            "path": str(f.path) if f.path else None,
            "count": f.count,
        }
        for f in findings
    ]
    if as_json:
        show_rows(records, ["level", "check", "message", "path", "count"], "", True)
    else:
        lines = [
            {"level": f.level, "check": f.check, "message": _with_example(f)} for f in findings
        ]
        show_rows(lines, ["level", "check", "message"], f"check of {root}", False)
    raise typer.Exit(exit_code(findings, strict=strict))
