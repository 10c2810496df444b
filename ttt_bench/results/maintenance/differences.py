"""How two cells of one configuration differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ttt_bench.results.compacted.scan import TABLES
from ttt_bench.results.integrity import read_columns
from ttt_bench.results.store import read_table
from ttt_bench.util.hashing import hash_file

if TYPE_CHECKING:
    import pyarrow as pa

SCORE = ["step", "task", "metric", "class"]
"""Columns that identify a score of a cell."""


def difference(first: Path, second: Path) -> str:
    """Return how the tables of two cells differ, in words; empty if those that both have agree.

    Raises:
        DamagedError: a file is damaged.
        DataError: a file cannot be read.
    """
    for name in TABLES:
        one, two = first / f"{name}.parquet", second / f"{name}.parquet"
        if not (one.is_file() and two.is_file()) or hash_file(one) == hash_file(two):
            continue
        # another version of pyarrow writes equal tables differently
        if _equal(read_columns(one), read_columns(two)):
            continue
        return _scores(first, second) if name == "rows" else f"the values of {name}.parquet"
    return ""


def _equal(one: pa.Table, two: pa.Table) -> bool:
    from pyarrow import ArrowException

    if one.column_names != two.column_names or one.num_rows != two.num_rows:
        return False
    try:
        return bool(one.cast(two.schema).equals(two))
    except ArrowException:
        return False


def _scores(first: Path, second: Path) -> str:
    """Return the largest difference between the scores of two cells, in words."""
    one, two = (read_table(folder, "rows").set_index(SCORE)["value"] for folder in (first, second))
    common = one.index.intersection(two.index)
    gaps = (one.loc[common] - two.loc[common]).abs()
    alone = len(one) + len(two) - 2 * len(common)
    words = [f"{alone} scores are in one of them only"] if alone else []
    if len(gaps) and gaps.max() > 0:
        words.append(_largest(gaps, one, two))
    return "; ".join(words) or "columns of rows.parquet other than the scores"


def _largest(gaps: pd.Series[float], one: pd.Series[float], two: pd.Series[float]) -> str:
    place: Any = gaps.idxmax()
    step, task, metric, label = place
    score = f"{task} {metric} {label}".rstrip()
    return (
        f"the largest difference is {gaps[place]:.6g} ({score} at step {step}: "
        f"{one[place]:.6g} and {two[place]:.6g}), in {int((gaps > 0).sum())} of {len(gaps)} scores"
    )
