"""The published and the measured rank of each method on a pair, and how well they agree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ttt_bench.analysis.across.numbers import Numbers
from ttt_bench.results.published import ARCHITECTURE, PublishedRow, PublishedTable, for_pair
from ttt_bench.results.published.checks import gives_delta
from ttt_bench.stats.ranks import CORRELATIONS, Array, quantile_interval, ranks

FEWEST = 3
"""The smallest number of methods that are ranked against published ones."""

RANK_COLUMNS = (
    *("label", "published", "published_rank", "recomputed"),
    *("mean", "low", "high", "rank", "rank_low", "rank_high"),
)
"""Columns of `published_ranks`: the published Delta_TTT and whether it was recomputed, the measured
one with its interval, and their ranks."""

CORRELATION_COLUMNS = ("measure", "mean", "low", "high", "methods")
"""Columns of `rank_correlations`."""


class PublishedDelta(NamedTuple):
    """A published Delta_TTT in percent, and whether it is recomputed from the printed scores."""

    value: float
    recomputed: bool


def published_deltas(
    pair: str, tasks: tuple[str, ...], architecture: str = ARCHITECTURE
) -> dict[str, PublishedDelta]:
    """Map each method to its published Delta_TTT; empty without published numbers.

    It is recomputed from the printed scores if other tasks are measured than published, or if the
    printed value contradicts them.
    """
    table = for_pair(pair, architecture)
    if table is None:
        return {}
    rows = [row for row in table.rows if not row.settings]
    found = {row.label: _delta(row, table, tasks) for row in rows}
    return {label: delta for label, delta in found.items() if delta is not None}


def published_ranks(numbers: Numbers, rule: str) -> pd.DataFrame:
    """Return published and measured ranks of the methods that have both, with `RANK_COLUMNS`.

    Rank 1 is the largest Delta_TTT among these methods. The interval of a measured rank is that of
    its draws. Empty with fewer than `FEWEST` methods.
    """
    key, measured = numbers.key, numbers.deltas(rule)
    published = published_deltas(key.pair, numbers.tasks, key.architecture)
    labels = [label for label in measured.index if label in published]
    if len(labels) < FEWEST:
        return pd.DataFrame(columns=list(RANK_COLUMNS))
    own = measured.loc[labels]
    values = [published[label].value for label in labels]
    found = pd.DataFrame(
        {
            "label": labels,
            "published": values,
            "published_rank": ranks(values),
            "recomputed": [published[label].recomputed for label in labels],
            "rank": ranks(own["mean"]),
        }
    )
    for name in ("mean", "low", "high"):
        found[name] = own[name].to_numpy(dtype=float)
    drawn = numbers.drawn_deltas(rule, labels)
    ends = quantile_interval(ranks(drawn)) if drawn is not None else (np.nan, np.nan)
    return found.assign(rank_low=ends[0], rank_high=ends[1])[list(RANK_COLUMNS)]


def rank_correlations(numbers: Numbers, rule: str) -> pd.DataFrame:
    """Return the rank correlations of published and measured Delta_TTT.

    In the draws of an interval, measured ranks are computed again and published ones stay as they
    are: their uncertainty is not included.

    Returns:
        Columns `CORRELATION_COLUMNS`; `methods` is their number. Empty if `published_ranks` is.
    """
    found = published_ranks(numbers, rule)
    if found.empty:
        return pd.DataFrame(columns=list(CORRELATION_COLUMNS))
    published, measured = (found[name].to_numpy(dtype=float) for name in ("published", "mean"))
    drawn = numbers.drawn_deltas(rule, list(found["label"]))
    rows = []
    for measure, correlation in CORRELATIONS.items():
        ends: tuple[Array | float, Array | float] = (np.nan, np.nan)
        if drawn is not None:
            ends = quantile_interval(correlation(published, drawn))
        rows.append((measure, float(correlation(published, measured)), *ends, len(found)))
    return pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS))


def _delta(
    row: PublishedRow, table: PublishedTable, tasks: tuple[str, ...]
) -> PublishedDelta | None:
    again = row.delta_on(tasks)
    same = set(tasks) == set(table.tasks)
    if same and row.delta is not None and (again is None or gives_delta(row.delta, again)):
        return PublishedDelta(row.delta.value, recomputed=False)
    return None if again is None else PublishedDelta(again, recomputed=True)
