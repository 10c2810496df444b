"""`data list`, `data show` and `data check`; `data prepare` is in `prepare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ttt_bench.cli.datasets import prepare
from ttt_bench.cli.options import AS_PATH, DataRoot, Json, request_options
from ttt_bench.cli.output import Display, about_root, say, show, stdout
from ttt_bench.config.merging import default_data_root
from ttt_bench.config.preset import resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.data.declared.declaration import FILE
from ttt_bench.data.declared.domains import declared_names
from ttt_bench.data.domains import Domain, shared_labels
from ttt_bench.data.label_spaces import LABEL_SPACES, LabelSpace, label_space_from
from ttt_bench.data.open import is_there, open_domain
from ttt_bench.data.registry import DATASETS, find_domain
from ttt_bench.data.shifts.kinds import parse_target
from ttt_bench.data.splits import SPLITS
from ttt_bench.data.variants import find_variant
from ttt_bench.errors import BenchError, unknown
from ttt_bench.util.atomic import require_writable
from ttt_bench.util.code.plugins import Entry
from ttt_bench.util.paths import cache_folder
from ttt_bench.util.text import short_name

if TYPE_CHECKING:
    from ttt_bench.data.base import Dataset
    from ttt_bench.datatools.check import Finding

LARGEST_SIDE = 8192
"""Longest side in pixels of an image on a contact sheet."""
app = typer.Typer(help="List, show, check and prepare data sets.", no_args_is_help=True)
app.add_typer(prepare.app, name="prepare")


@app.command("list")
def list_domains(data_root: DataRoot = None, as_json: Json = False) -> None:
    """List every data set, whether its files are present, and the label spaces."""
    root = data_root or default_data_root()
    rows = [_domain_row(entry, root) for entry in DATASETS.entries()]
    rows += [_declared_row(name, root) for name in declared_names(root) if root is not None]
    show(
        rows,
        ("name", "description", "tasks", "data", "package"),
        title="data sets",
        as_json=as_json,
        json_columns=("name", "description", "tasks", "label_spaces", "data", "package"),
    )
    if as_json:
        return
    stdout.print(f"{about_root(root)}\n", markup=False)
    spaces = [_space_row(space, rows) for space in LABEL_SPACES.values()]
    columns = ("label space", "classes", "data sets")
    show(spaces, columns, title="label spaces (--label-space)", as_json=False)


def _space_row(space: LabelSpace, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the row of a label space, with the data sets that have its classes."""
    datasets = [row["name"] for row in rows if space.name in row["label_spaces"]]
    return {
        "label space": space.name,
        "classes": ", ".join(space.classes),
        "data sets": ", ".join(datasets),
    }


def _declared_row(name: str, root: Path) -> dict[str, Any]:
    """Return the row of a data set that a data root declares."""
    return _row(name, f"{name}/{FILE}", root, lambda: find_domain(name, root))


def _domain_row(entry: Entry, root: Path | None) -> dict[str, Any]:
    """Return the row of a registered data set."""
    return _row(entry.name, entry.origin, root, lambda: DATASETS.load(entry.name))


def _row(name: str, origin: str, root: Path | None, load: Callable[[], Domain]) -> dict[str, Any]:
    """Return the row of a data set; if it is invalid, the row gives the reason."""
    try:
        domain = load()
    except BenchError as error:
        return {
            "name": name,
            "description": f"broken: {error}",
            "label_spaces": [],
            "package": origin,
        }
    return {
        "name": name,
        "description": domain.description,
        "tasks": ", ".join(domain.tasks),
        "label_spaces": [
            space.name for space in LABEL_SPACES.values() if domain.ids_of(space) is not None
        ],
        "data": _presence(domain, root),
        "package": origin,
    }


def _presence(domain: Domain, root: Path | None) -> str:
    if domain.embedded:
        return "embedded"
    return "present" if is_there(domain, root) else f"missing {domain.folder}/"


@app.command("show")
@request_options("preset", "data_variant", "label_space", "set", "data_root")
def show_images(
    request: Request,
    name: Annotated[
        str,
        typer.Argument(help="Data set, with or without shifts (rooms, nyud+gaussian_noise@0.1)."),
    ],
    *,
    count: Annotated[
        int, typer.Option(help="Number of images, spread evenly over the split.", min=1, max=64)
    ] = 8,
    split: Annotated[str, typer.Option(help="Split: train, val, test or tune.")] = "test",
    size: Annotated[
        str | None,
        typer.Option(
            help="Image size in pixels, HEIGHTxWIDTH. Default: the size that a run uses.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="PNG file to write. Default: NAME.png.", show_default=False, **AS_PATH),
    ] = None,
) -> None:
    """Write a contact sheet of images and their labels, as a run uses them."""
    display, path = Display(), out or Path(f"{short_name(name)}.png")
    require_writable(path.parent, "choose another file with --out")
    dataset, classes = _open_split(name, split, request, size=size, count=count, display=display)
    for notice in dataset.notices:
        display.notice(notice)
    from ttt_bench.data.images.files import spread
    from ttt_bench.datatools.show import contact_sheet

    contact_sheet(dataset, spread(len(dataset), count), classes, path)
    say(f"contact sheet: {path}")


def _open_split(
    name: str, split: str, request: Request, *, size: str | None, count: int, display: Display
) -> tuple[Dataset, tuple[str, ...]]:
    """Return a split as a run would use it, and the names of its classes.

    Args:
        size: HEIGHTxWIDTH; None for the preset's size.
        count: Number of images to render if the data set is embedded.
    """
    plain, shifts = parse_target(name)
    domain = find_domain(plain, request.data_root)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    own = {space: label_space_from(space, table) for space, table in request.label_spaces.items()}
    labels = shared_labels([domain], request.label_space, own)
    preset = request.preset or ("quick" if domain.embedded else "paper")
    settings = resolve_preset(preset, request.set).data
    role = "source" if split in ("train", "val") else "target"
    shape = _parse_size(size) if size else settings.size(plain, role)
    from ttt_bench.data.shifts.views import ShiftedDataset

    dataset = open_domain(
        domain,
        split,
        shape,
        count,
        data_root=request.data_root,
        cache=cache_folder(),
        progress=display,
        space=labels,
        variant=find_variant(request.data_variant),
        subset=settings.test_subset,
        tasks=settings.tasks,
    )
    if domain.embedded:  # files are checked when they are read, and only those that are drawn
        dataset.prepare(display)
    shifted = ShiftedDataset(dataset, shifts, settings.seed) if shifts else dataset
    return shifted, labels.classes if labels else ()


def _parse_size(text: str) -> tuple[int, int]:
    """Return (H, W) of a text HEIGHTxWIDTH."""
    height, _, width = text.partition("x")
    sides = [int(side) for side in (height, width) if side.isdecimal()]
    if len(sides) < 2 or min(sides) < 16 or max(sides) > LARGEST_SIDE:
        raise typer.BadParameter(
            f"--size takes HEIGHTxWIDTH from 16x16 to {LARGEST_SIDE}x{LARGEST_SIDE} (such as "
            f"64x80), got {text!r}"
        )
    return sides[0], sides[1]


@app.command("check")
def check(
    root: Annotated[
        Path,
        typer.Argument(
            help="Data root, folder of one data set, or file of one normal map.", **AS_PATH
        ),
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 if there are warnings.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Decode every frame, and store a digest of every file, so that later changes are "
            "found. Default: decode 200 frames per data set.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Do not write the measured conventions to the data set's ttt-bench.json.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check data sets, and store their measured conventions for loading.

    Exit code 0: usable; 1: warnings, with --strict; 2: unusable.
    """
    from ttt_bench.datatools.check import check as check_root
    from ttt_bench.datatools.check import exit_code

    findings = check_root(root, Display(), full=full, store=not dry_run)
    show(
        [_finding_row(finding) for finding in findings],
        ("level", "check", "finding"),
        title=f"check of {root}",
        as_json=as_json,
        json_columns=("level", "check", "message", "path", "count"),
    )
    raise typer.Exit(exit_code(findings, strict=strict))


def _finding_row(finding: Finding) -> dict[str, Any]:
    """Return the row of a finding; in the table, a problem's example follows its message."""
    example = f"\n  {finding.path}" if finding.path and finding.level != "ok" else ""
    return {
        "level": finding.level,
        "check": finding.check,
        "message": finding.message,
        "finding": f"{finding.message}{example}",
        "path": str(finding.path) if finding.path else None,
        "count": finding.count,
    }
