"""`data show`, `data check` and, with its own module, `data prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ttt_bench.cli import prepare
from ttt_bench.cli.output import Display, say, show_records
from ttt_bench.cli.sweep import DataRoot, Json, PresetName

if TYPE_CHECKING:
    from ttt_bench.data.check import Finding

app = typer.Typer(help="Look at data, check them, and make them ready.", no_args_is_help=True)
app.add_typer(prepare.app, name="prepare")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A domain, such as rooms.")],
    count: Annotated[int, typer.Option(help="How many images.", min=1, max=64)] = 8,
    split: Annotated[str, typer.Option(help="train, val, test or tune.")] = "test",
    preset: PresetName = None,
    size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of an embedded domain. [default: the preset's]", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The PNG file. [default: NAME.png]", show_default=False)] = None,
    data_root: DataRoot = None,
) -> None:
    """Write a contact sheet: images and their labels."""
    from ttt_bench.config import default_data_root, resolve_preset
    from ttt_bench.data.domains import Pair, find_domain, open_domain
    from ttt_bench.data.label_spaces import find_label_space
    from ttt_bench.data.rooms.looks import SPLITS
    from ttt_bench.data.show import contact_sheet
    from ttt_bench.errors import unknown
    from ttt_bench.plan import cache_folder

    domain = find_domain(name)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    sizes = resolve_preset(preset or ("quick" if domain.embedded else "paper"), {}).data
    chosen = _parse_size(size) if size else sizes.size(domain.name, "source" if name == "rooms" else "target")
    display = Display()
    root, cache = data_root or default_data_root(), cache_folder()
    dataset = open_domain(domain, split, chosen, count, data_root=root, cache=cache, progress=display)
    if domain.embedded:  # files are looked at when they are read, and only those that are drawn
        dataset.prepare(display)
    path = out or Path(f"{name}.png")
    classes = find_label_space(Pair(domain, domain).label_space).classes
    contact_sheet(dataset, list(range(min(count, len(dataset)))), classes, path)
    say(f"contact sheet: {path}")


def _parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and min(int(height), int(width)) >= 16):
        raise typer.BadParameter(f"--size takes HEIGHTxWIDTH of at least 16x16 (such as 64x80), got {text!r}")
    return int(height), int(width)


def _with_example(finding: Finding) -> str:
    return f"{finding.message}\n  {finding.path}" if finding.path and finding.level != "ok" else finding.message


@app.command("check")
def check(
    root: Annotated[Path, typer.Argument(help="A data root, one data set's folder, or a single normal map.")],
    strict: Annotated[bool, typer.Option("--strict", help="Warnings make the exit code 1.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Decode every frame, not 200 of them.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do not keep what was measured in the data set's ttt-bench.json.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look data sets over, measure their conventions, and keep what was measured for the loaders.

    Exit code 0: fine; 1: warnings, with --strict; 2: unusable.
    """
    from ttt_bench.data.check import check as look
    from ttt_bench.data.check import exit_code

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
        show_records(records, ["level", "check", "message", "path", "count"], "", True)
    else:
        lines = [{"level": f.level, "check": f.check, "message": _with_example(f)} for f in findings]
        show_records(lines, ["level", "check", "message"], f"check of {root}", False)
    raise typer.Exit(exit_code(findings, strict))
