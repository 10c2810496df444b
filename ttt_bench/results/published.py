"""The published numbers of a pair, with a check: Delta_TTT is recomputed from the per-task means.

`published.csv` has every number of the tables of TR-TTT (the earlier version of S4T) and S4T:
`paper, table, pair, method, task, metric, value, std, note`, with mIoU in percent, mErr in degrees
and `delta_ttt` in percent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

import pandas as pd

from ttt_bench.metrics.base import metrics_of
from ttt_bench.metrics.delta import delta_ttt
from ttt_bench.tasks import canonical

TOLERANCE = 0.1
"""The largest difference, in points, of a published and a recomputed Delta_TTT without a flag."""

STEPS = 40
"""Adaptation steps of the published runs."""

CAUSES = {
    ("taskonomy:pascal", "tttflow"): "cause unknown (a digit?)",
    ("pascal:taskonomy", "tent"): "printed as a fraction, not percent",
    ("nyud:taskonomy", "tttflow"): "rounding of the printed means",
    ("nyud:taskonomy", "tent"): "rounding of the printed means",
}
"""Causes, found by an audit, of published Delta_TTT that differ from the published means."""

_PASCAL = (
    "the paper swaps the class lists of its two pairs, and calls class 2 'toilet', although the "
    "ids of both data sets are those of bottle (scores are unaffected)",
)
_NYUD = ("the paper swaps the class lists of its two pairs (scores are unaffected)",)
_TABLE_NOTES = {
    "TR-TTT": (
        "TR-TTT states 40,000 training iterations in section 4.1 and 60,000 in its appendix",
    ),
    "S4T": (
        "for some rows the standard deviations differ in scale between TR-TTT's Table 6 and S4T's "
        "Table 4",
    ),
}


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """The printed numbers of one method.

    Attributes:
        scores: task -> (mean, standard deviation or NaN).
        delta: the printed Delta_TTT in percent (mean, standard deviation or NaN).
        recomputed: Delta_TTT computed from the printed means.
        flag: the reason to doubt the printed Delta_TTT; may be empty.
    """

    method: str
    scores: dict[str, tuple[float, float]]
    delta: tuple[float, float]
    recomputed: float
    flag: str = ""


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """A published main table: one pair, one row per method, in the paper's order."""

    paper: str
    table: str
    pair: str
    rows: tuple[PublishedRow, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Return paper and table."""
        return f"{self.paper}, {self.table}"

    def row(self, method: str) -> PublishedRow | None:
        """Return the row of a method; None if the paper has none."""
        return next((row for row in self.rows if row.method == method), None)


@cache
def numbers() -> pd.DataFrame:
    """Return every published number, with the columns of `published.csv`."""
    with files("ttt_bench.results").joinpath("published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False, na_values={"value": [""], "std": [""]})


@cache
def for_pair(pair: str) -> PublishedTable | None:
    """Return the main table of a pair; None if nothing is published for it."""
    frame = numbers()
    plain = frame[(frame["pair"] == pair) & (frame["note"] == "")]
    base = plain[(plain["method"] == "base") & (plain["metric"] == "delta_ttt")]
    if base.empty:
        return None
    paper, table = base.iloc[0][["paper", "table"]]
    chosen = plain[(plain["paper"] == paper) & (plain["table"] == table)]
    base_scores = _scores(chosen[chosen["method"] == "base"])
    rows = tuple(
        _row(pair, str(method), group, base_scores)
        for method, group in chosen.groupby("method", sort=False)
    )
    notes = (*(_PASCAL if "pascal" in pair else _NYUD), *_TABLE_NOTES[paper])
    return PublishedTable(paper=str(paper), table=str(table), pair=pair, rows=rows, notes=notes)


@cache
def published_parameters() -> dict[str, float]:
    """Return method -> parameters in millions, as S4T's supplement prints them (Table 6)."""
    frame = numbers()
    chosen = frame[
        (frame["paper"] == "S4T") & (frame["table"] == "Table 6") & (frame["metric"] == "params_m")
    ]
    return {
        str(method): float(value)
        for method, value in zip(chosen["method"], chosen["value"], strict=True)
    }


def _row(
    pair: str, method: str, group: pd.DataFrame, base: dict[str, tuple[float, float]]
) -> PublishedRow:
    scores = _scores(group)
    printed = group[group["metric"] == "delta_ttt"].iloc[0]
    recomputed = delta_ttt(
        [scores[task][0] for task in base],
        [base[task][0] for task in base],
        [metrics_of(task).lower_is_better for task in base],
    )
    value = float(printed["value"])
    cause = CAUSES.get((pair, method), "cause unknown")
    suspicious = not math.isclose(value, recomputed, abs_tol=TOLERANCE) or (pair, method) in CAUSES
    flag = (
        f"printed {value:.2f}, the printed means give {recomputed:.2f}: {cause}"
        if suspicious
        else ""
    )
    return PublishedRow(
        method=method,
        scores=scores,
        delta=(value, float(printed["std"])),
        recomputed=recomputed,
        flag=flag,
    )


def _scores(group: pd.DataFrame) -> dict[str, tuple[float, float]]:
    by_task = group[group["task"] != "all"].set_index("task")
    return {
        task: (float(by_task.loc[task, "value"]), float(by_task.loc[task, "std"]))  # type: ignore[arg-type]
        for task in canonical(by_task.index)
    }
