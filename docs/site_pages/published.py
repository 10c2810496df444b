"""The page of the published numbers, from the file that reports use."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pandas as pd

from site_pages.markdown import bullets, table
from ttt_bench.results.published.numbers import FILE

_TEXT = """\
# Published numbers

The numbers of the tables of TR-TTT and S4T, as printed: mean ± standard deviation. mIoU and
Delta_TTT are in percent, mErr in degrees, RMSE in the units of the aligned target, `params_m` in
millions and `inference_s` in seconds. Reports show them next to measured numbers, and name
everything in which a run differs from the published ones.
"""
_PLACE = ["paper", "table", "pair"]


def page() -> str:
    """Return the page in Markdown."""
    path = files("ttt_bench.results.published").joinpath(FILE)
    with path.open(encoding="utf-8") as file:
        numbers = pd.read_csv(file, dtype=str, keep_default_na=False)
    parts = [_section(place, part) for place, part in numbers.groupby(_PLACE, sort=False)]
    return "\n".join([_TEXT, *parts])


def _section(place: Any, numbers: pd.DataFrame) -> str:
    paper, name, pair = place
    parts = numbers["note"].str.split("; ")
    cells = numbers.assign(
        setting=parts.map(lambda notes: "; ".join(note for note in notes if "=" in note)),
        column=(numbers["task"] + " " + numbers["metric"]).str.removeprefix("all "),
        shown=numbers["value"] + numbers["std"].map(lambda std: f" ± {std}" if std else ""),
    )
    key = ["method", "setting"] if cells["setting"].any() else ["method"]
    wide = cells.groupby([*key, "column"], sort=False)["shown"].first().unstack(sort=False)
    wide = wide.fillna("").reset_index()
    rows = wide.to_dict("records")
    remarks = {note for notes in parts for note in notes if note and "=" not in note}
    text = f"## {paper}, {name}: {pair}\n\n{table(rows, list(wide.columns), code='method')}\n"
    return text + bullets(sorted(remarks))
