"""Rank correlations of the synchronisation measures with the truth of made curves.

Run it to print the table of docs/synchronisation.md: `PYTHONPATH=tests python -m
support.sync_truth`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

from support.made_curves import DISAGREEING, KINDS, LAGGED, LOWER, Made, made
from ttt_bench import sync

Array = NDArray[np.float64]

SETS = 100
"""Sets of curves of each kind and number of steps."""


def raw_dtw(curves: Array) -> Array:
    """Return raw DTW on the changes against step 0 in percent, over steps 1..N."""
    relative = sync.normalize(curves[..., 1:], "relative", curves[..., 0])
    return sync.mean_dtw(sync.orient(relative, LOWER))


def _units(measure: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a measure of scores that is that measure of unit curves."""
    return lambda curves: measure(sync.unit_curves(curves, LOWER))


MEASURES: dict[str, Callable[[Array], Array]] = {
    "SV, raw": lambda curves: sync.step_variance(curves[..., 1:], LOWER),
    "DTW, raw": raw_dtw,
    "CS per step, raw": lambda c: sync.cosine_similarity(sync.orient(c[..., 1:], LOWER), "mean"),
    "DTW of eq. 2, min-max curves": _units(sync.mean_dtw),
    "SV, scale-free": _units(sync.peak_spread),
    "DTW, scale-free": _units(sync.curve_distance),
    "CS, scale-free": _units(sync.direction_agreement),
}


def values(sets: int = SETS) -> pd.DataFrame:
    """Return one row per set of curves: `kind, steps, truth, gain`, and each measure."""
    return pd.concat([_rows(kind, part) for kind in KINDS for part in made(kind, sets)])


def correlations(found: pd.DataFrame) -> pd.DataFrame:
    """Return Spearman's rank correlation of each measure, one row per measure.

    The columns are the kinds, `lag` and `disagreement` (several kinds together) with the truth, and
    `gain` and `steps`, the correlations with these over the kinds with a lag.
    """
    lagged, disagreeing = _of(found, LAGGED), _of(found, DISAGREEING)
    columns = {kind: _ranks(_of(found, [kind]), "truth") for kind in KINDS}
    columns |= {"lag": _ranks(lagged, "truth"), "disagreement": _ranks(disagreeing, "truth")}
    columns |= {name: _ranks(lagged, name) for name in ("gain", "steps")}
    return pd.DataFrame(columns)


def table(found: pd.DataFrame) -> str:
    """Return the correlations as a Markdown table."""
    lines = ["measure", *found.columns], ["---"] * (1 + len(found.columns))
    rows = [[name, *(f"{value:.2f}" for value in row)] for name, *row in found.itertuples()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (*lines, *rows))


def _rows(kind: str, part: Made) -> pd.DataFrame:
    steps = part.curves.shape[-1] - 1
    known = {"kind": kind, "steps": steps, "truth": part.truth, "gain": part.gain}
    return pd.DataFrame(known | {name: one(part.curves) for name, one in MEASURES.items()})


def _of(found: pd.DataFrame, kinds: Iterable[str]) -> pd.DataFrame:
    return found[found["kind"].isin(list(kinds))]


def _ranks(found: pd.DataFrame, name: str) -> dict[str, float]:
    return {one: float(spearmanr(found[one], found[name])[0]) for one in MEASURES}


if __name__ == "__main__":
    print(table(correlations(values())))
