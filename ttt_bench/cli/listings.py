"""`methods`, `pairs` and `params`; the listings load no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ttt_bench.cli.output import Display, about_root, say, show_rows, stdout
from ttt_bench.cli.sweep import DataRoot, Json, Sets
from ttt_bench.errors import BenchError

methods = typer.Typer(help="The registered methods.", no_args_is_help=True)
pairs = typer.Typer(help="The domain pairs.", no_args_is_help=True)


@methods.command("list")
def list_methods(as_json: Json = False) -> None:
    """Every registered method, without importing any."""
    from ttt_bench.registry import METHODS

    records = [
        {
            "method": entry.name,
            "package": entry.package,
            "version": entry.version,
            "location": entry.location,
        }
        for entry in METHODS.entries()
    ]
    show_rows(records, ["method", "package", "version", "location"], "methods", as_json)


@methods.command("show")
def show_method(
    name: Annotated[str, typer.Argument(help="The method's name.")], as_json: Json = False
) -> None:
    """What a method trains, moves and costs, with its options and where their defaults come
    from.
    """
    from ttt_bench.describe.card import card_rows, option_rows

    records, options = card_rows(name), option_rows(name)
    if as_json:
        show_rows(
            [*records, *({"field": f"option {o['option']}", "value": o} for o in options)],
            ["field", "value"],
            "",
            True,
        )
        return
    show_rows(records, ["field", "value"], name, False)
    show_rows(
        options, ["option", "paper", "original", "meaning", "source"], "options and settings", False
    )
    stdout.print(
        "set one with --set "
        + f"{name}.OPTION=VALUE; choose a column with --hparams paper|original",
        markup=False,
    )


@methods.command("check")
def check_methods(
    names: Annotated[
        list[str] | None, typer.Argument(help="Methods; all by default.", show_default=False)
    ] = None,
    backbone: Annotated[str, typer.Option(help="The timm backbone to check with.")] = "test_resnet",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Does a method keep the contract? Runs it on small networks and random images; exit code 1
    where it does not.
    """
    from ttt_bench.config.reading import parse_setting
    from ttt_bench.config.request import Request
    from ttt_bench.registry import METHODS
    from ttt_bench.sweep.resolve import check_names

    wanted = names or list(METHODS.names())
    settings = dict(parse_setting(text) for text in sets or [])
    check_names(Request(methods=tuple(wanted), set=settings))
    from ttt_bench.conformance import Result, check_method
    from ttt_bench.sweep.runner import find_device

    found: dict[str, list[Result]] = {}
    with Display().bar("checking", len(wanted)) as bar:
        for name in wanted:
            own = {key: value for key, value in settings.items() if key.startswith(f"{name}.")}
            try:
                found[name] = check_method(METHODS.load(name), own, backbone, find_device(device))
            except BenchError as error:
                found[name] = [Result("loading", str(error))]
            bar.advance(note=name)
    records = [
        {"method": name, "check": result.check, "passed": result.passed, "problem": result.problem}
        for name, results in found.items()
        for result in results
    ]
    if as_json:
        show_rows(records, ["method", "check", "passed", "problem"], "", True)
    else:
        shown = [
            {"method": name, "check": result.check, "found": result.problem or "ok"}
            for name, results in found.items()
            for result in results
            if len(found) == 1 or not result.passed
        ]
        summary = [
            {
                "method": name,
                "checks": len(results),
                "failed": sum(not result.passed for result in results),
            }
            for name, results in found.items()
        ]
        show_rows(
            summary, ["method", "checks", "failed"], f"conformance ({backbone}, {device})", False
        )
        if shown:
            show_rows(
                shown,
                ["method", "check", "found"],
                "checks" if len(found) == 1 else "what is wrong",
                False,
            )
    if any(not record["passed"] for record in records):
        raise typer.Exit(1)


@pairs.command("list")
def list_pairs(data_root: DataRoot = None, as_json: Json = False) -> None:
    """The published pairs and the embedded one, what they need, and whether it is there."""
    from ttt_bench.config.merging import default_data_root
    from ttt_bench.data.pair import LISTED_PAIRS
    from ttt_bench.data.registry import DATASETS
    from ttt_bench.data.shifts.kinds import KINDS

    root = data_root or default_data_root()
    records = [_pair_record(name, root) for name in LISTED_PAIRS]
    show_rows(
        records,
        ["pair", "tasks", "label_space", "data", "preset"],
        "pairs (source:target)",
        as_json,
    )
    if not as_json:
        stdout.print(about_root(root), markup=False)
        stdout.print(
            f"Any two of these make a pair: {', '.join(DATASETS.names())} (`ttt-bench data list` says what they are).\n",
            markup=False,
        )
        shifts = [
            {
                "shift": kind.name,
                "what it does": kind.summary,
                "strength": "s1 to s5" + (f", or {kind.range}" if kind.limits else ""),
            }
            for kind in KINDS.values()
        ]
        title = "shifts of a target's images (such as rooms:rooms+jpeg@30 or taskonomy:nyud+fog@s3)"
        show_rows(shifts, ["shift", "what it does", "strength"], title, False)


def _pair_record(name: str, root: Path | None) -> dict[str, Any]:
    """What a listing says of a pair; of a broken one why it is, so that it does not hide the
    others.
    """
    from ttt_bench.data.open import is_there
    from ttt_bench.data.pair import find_pair

    try:
        pair = find_pair(name)
    except BenchError as error:
        return {"pair": name, "data": f"broken: {error}"}
    labels = pair.label_space(None, {})
    lacking = [
        f"{domain.folder}/" for domain in (pair.source, pair.target) if not is_there(domain, root)
    ]
    there = "embedded" if pair.embedded else "there"
    return {
        "pair": name,
        "tasks": ", ".join(pair.tasks),
        "label_space": labels.name if labels else "",
        "data": f"lacks {', '.join(lacking)}" if lacking else there,
        "preset": "quick" if pair.embedded else "paper",
    }


def params(
    backbone: Annotated[str, typer.Option(help="A timm backbone.")] = "resnet50",
    classes: Annotated[
        int, typer.Option(help="Classes of semantic segmentation (7: 12 output channels).", min=2)
    ] = 7,
    tasks: Annotated[
        str, typer.Option(help="Tasks, joined by commas.")
    ] = "semseg,depth,normals,edge",
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Trainable parameters of every method: total, and where they are."""
    from ttt_bench.config.reading import parse_setting
    from ttt_bench.config.request import Request
    from ttt_bench.describe.card import parameter_rows
    from ttt_bench.sweep.resolve import check_names

    settings = dict(parse_setting(text) for text in sets or [])
    check_names(Request(set=settings))
    names = [task.strip() for task in tasks.split(",")]
    records = parameter_rows(backbone, names, classes, settings, Display())
    title = f"trainable parameters, {backbone}, tasks {tasks}, {classes} classes"
    if as_json:
        show_rows(records, list(records[0]), title, True)
        return
    shown = [
        {**record, "published": f"{p:.2f} M" if (p := record["published"]) else ""}
        for record in records
    ]
    show_rows(
        shown, ["method", "published", "total", "backbone", "heads", "added", "moved"], title, False
    )
    say("published: S4T, supplement, Table 6; moved: what the method declares to move at test time")
    for record in records:
        if record["added"]:
            say(f"{record['method']}'s modules: {record['architecture']}")
