"""`pairs list`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ttt_bench.cli.options import DataRoot, Json
from ttt_bench.cli.output import about_root, show, stdout
from ttt_bench.config.merging import default_data_root
from ttt_bench.data.open import is_there
from ttt_bench.data.pair import LISTED_PAIRS, find_pair
from ttt_bench.data.registry import domain_names
from ttt_bench.data.shifts.kinds import KINDS
from ttt_bench.errors import BenchError

app = typer.Typer(help="List domain pairs.", no_args_is_help=True)


@app.command("list")
def list_pairs(data_root: DataRoot = None, as_json: Json = False) -> None:
    """List the published pairs and the embedded one, and the shifts of a target's images."""
    root = data_root or default_data_root()
    show(
        [_pair_row(name, root) for name in LISTED_PAIRS],
        ("pair", "tasks", "label_space", "data", "preset"),
        title="pairs (source:target)",
        as_json=as_json,
    )
    if as_json:
        return
    stdout.print(about_root(root), markup=False)
    stdout.print(
        f"Any two of these domains make a pair: {', '.join(domain_names(root))} "
        "(described by `ttt-bench data list`).\n",
        markup=False,
    )
    show(
        _shift_rows(),
        ("shift", "effect", "strength"),
        title="shifts of a target's images (such as rooms:rooms+jpeg@30 or taskonomy:nyud+fog@s3)",
        as_json=False,
    )


def _shift_rows() -> list[dict[str, str]]:
    return [
        {
            "shift": kind.name,
            "effect": kind.summary,
            "strength": "s1 to s5" + (f", or {kind.range}" if kind.limits else ""),
        }
        for kind in KINDS.values()
    ]


def _pair_row(name: str, root: Path | None) -> dict[str, Any]:
    """Return the row of a pair; if a data set is invalid, the row gives the reason."""
    try:
        pair = find_pair(name)
    except BenchError as error:
        return {"pair": name, "data": f"broken: {error}"}
    labels = pair.label_space(None, {})
    domains = (pair.source, pair.target)
    missing = [f"{domain.folder}/" for domain in domains if not is_there(domain, root)]
    present = "embedded" if pair.embedded else "present"
    return {
        "pair": name,
        "tasks": ", ".join(pair.tasks()),
        "label_space": labels.name if labels else "",
        "data": f"missing {', '.join(missing)}" if missing else present,
        "preset": "quick" if pair.embedded else "paper",
    }
