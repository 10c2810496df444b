"""`methods`, `pairs` and `params`; the listings load no PyTorch."""

from __future__ import annotations

from typing import Annotated

import typer

from ttt_bench.cli.output import say, show_records, stdout
from ttt_bench.cli.sweep import Json, Sets

methods = typer.Typer(help="The registered methods.", no_args_is_help=True)
pairs = typer.Typer(help="The domain pairs.", no_args_is_help=True)


@methods.command("list")
def list_methods(as_json: Json = False) -> None:
    """Every registered method, without importing any."""
    from ttt_bench.registry import registered

    records = [
        {"method": entry.name, "package": entry.package, "version": entry.version, "location": entry.location}
        for entry in registered().values()
    ]
    show_records(records, ["method", "package", "version", "location"], "methods", as_json)


@methods.command("show")
def show_method(name: Annotated[str, typer.Argument(help="The method's name.")], as_json: Json = False) -> None:
    """What a method trains, moves and costs, with its options and where their defaults come from."""
    from ttt_bench.card import card_records, option_records

    records, options = card_records(name), option_records(name)
    if as_json:
        show_records(
            [*records, *({"field": f"option {o['option']}", "value": o} for o in options)], ["field", "value"], "", True
        )
        return
    show_records(records, ["field", "value"], name, False)
    show_records(options, ["option", "paper", "original", "meaning", "source"], "options and settings", False)
    stdout.print(
        "set one with --set " + f"{name}.OPTION=VALUE; choose a column with --hparams paper|original", markup=False
    )


@pairs.command("list")
def list_pairs(as_json: Json = False) -> None:
    """The pairs, and every domain that a pair may be made of."""
    from ttt_bench.data.domains import DOMAINS, LISTED_PAIRS, find_pair

    records = []
    for name in LISTED_PAIRS:
        pair = find_pair(name)
        needs = [d.folder for d in (pair.source, pair.target) if d.folder]
        records.append(
            {
                "pair": name,
                "tasks": ", ".join(pair.tasks),
                "data": f"--data-root with {', '.join(f'{n}/' for n in needs)}" if needs else "embedded",
                "preset": "quick" if pair.embedded else "paper",
            }
        )
    show_records(records, ["pair", "tasks", "data", "preset"], "pairs", as_json)
    if not as_json:
        domains = [{"domain": d.name, "description": d.description} for d in DOMAINS.values()]
        show_records(domains, ["domain", "description"], "domains (any source:target is a pair)", False)


def params(
    backbone: Annotated[str, typer.Option(help="A timm backbone.")] = "resnet50",
    classes: Annotated[int, typer.Option(help="Classes of semantic segmentation (7: 12 output channels).", min=2)] = 7,
    tasks: Annotated[str, typer.Option(help="Tasks, joined by commas.")] = "semseg,depth,normals,edge",
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Trainable parameters of every method: total, and where they are."""
    from ttt_bench.card import parameter_records
    from ttt_bench.config import Request, parse_setting
    from ttt_bench.names import check_names

    settings = dict(parse_setting(text) for text in sets or [])
    check_names(Request(set=settings))
    records = parameter_records(backbone, [task.strip() for task in tasks.split(",")], classes, settings)
    columns = ["method", "total", "millions", "published", "backbone", "heads", "added", "moved", "architecture"]
    show_records(records, columns, f"trainable parameters, {backbone}, tasks {tasks}, {classes} classes", as_json)
    if not as_json:
        say("published: S4T, supplement, Table 6, in millions; moved: receive a gradient at test time, or may")
