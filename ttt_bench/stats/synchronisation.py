"""Synchronisation of the tasks over adaptation steps, for every label and seed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ttt_bench import sync
from ttt_bench.metrics.base import metrics_of
from ttt_bench.stats.summary import UNMOVED, base_scores, unmoved

MEASURES = ("step_variance", "dtw", "cosine_similarity", "cosine_similarity_per_step")


def peak(task: str) -> str:
    """Return the column of the step, counted from 1, with a task's best score."""
    return f"peak_{task}"


def sync_frame(scores: pd.DataFrame, base: str | None) -> pd.DataFrame:
    """Return the measures of every label and seed.

    Args:
        scores: as `summary.score_frame` returns them.
        base: the label of Base, whose scores of the same seed scale the trajectories for DTW;
            without it, DTW is missing.

    Returns:
        Columns `label, seed, steps`, `MEASURES`, `peak_<task>` (see `peak`), `early` (tasks that
        are better at step 0 than at any later step) and `constant` (tasks that do not change over
        steps 1..N), the last two as tuples. A measure that is undefined is NaN: all of them if no
        task changes, and all but the peaks if there is one task only.
    """
    reference = base_scores(scores, base) if base is not None else scores.iloc[:0]
    base_of = dict(zip(reference.index, reference.to_numpy(), strict=True))
    flat = unmoved(scores)
    flat_of = dict(zip(flat.index, flat.to_numpy(), strict=True))
    records = []
    for (label, seed), cell in scores.groupby(level=["label", "seed"], sort=False):
        # in a cell without steps, every task is constant
        constant = flat_of.get((label, seed), np.ones(cell.shape[1], dtype=bool))
        measures = _measures(cell.droplevel(["label", "seed"]), constant, base_of.get(seed))
        records.append({"label": label, "seed": seed, **measures})
    return pd.DataFrame(records)


def _measures(
    scores: pd.DataFrame, constant: np.ndarray, base: np.ndarray | None
) -> dict[str, object]:
    """Return the measures of one cell.

    Args:
        scores: one row per step, one column per task; NaN for a task that the cell lacks, as in a
            single-task variant.
        constant: whether each task is constant, (n,).
        base: Base's scores of the same seed, (n,).
    """
    own = scores.notna().all().to_numpy()
    scores, constant = scores.loc[:, own], constant[own]
    tasks = [str(task) for task in scores.columns]
    lower = [metrics_of(task).lower_is_better for task in tasks]
    # (steps, tasks) -> (tasks, steps)
    before, after = scores[scores.index == 0].to_numpy().T, scores[scores.index >= 1].to_numpy().T
    found: dict[str, object] = {"steps": int(scores.index.max())}
    found |= dict.fromkeys((*MEASURES, *map(peak, tasks)), math.nan)
    found["early"] = _chosen(tasks, _early(before, after, lower))
    found["constant"] = _chosen(tasks, constant)
    if not constant.all():
        found |= _peaks(tasks, after, lower)
        found |= _relations(after, lower, None if base is None else base[own])
    return found


def _peaks(tasks: list[str], after: np.ndarray, lower: list[bool]) -> dict[str, float]:
    steps = sync.peak_steps(after, lower)
    return {peak(task): float(step) for task, step in zip(tasks, steps, strict=True)}


def _relations(after: np.ndarray, lower: list[bool], base: np.ndarray | None) -> dict[str, float]:
    """Return the measures between trajectories, (n, T); none for a single task."""
    if len(lower) < 2:
        return {}
    oriented = sync.orient(after, lower)
    found = {
        "step_variance": sync.step_variance(after, lower),
        "cosine_similarity": sync.cosine_similarity(oriented),
        "cosine_similarity_per_step": sync.cosine_similarity(oriented, "mean"),
    }
    if base is not None and (base != 0).all():
        relative = sync.normalize(after, "relative", base)
        found["dtw"] = sync.mean_dtw(sync.orient(relative, lower))
    return found


def _early(before: np.ndarray, after: np.ndarray, lower: list[bool]) -> np.ndarray:
    """Return which tasks score better at step 0, (n, 1), than at every step of (n, T): (n,).

    Differences up to rounding error do not count.
    """
    if after.shape[1] == 0:
        return np.zeros(len(lower), dtype=bool)
    # the largest of T steps: (n, T) -> (n,)
    gap = sync.orient(before, lower)[:, 0] - sync.orient(after, lower).max(axis=1)
    return gap > UNMOVED * np.abs(before[:, 0])


def _chosen(tasks: list[str], flags: np.ndarray) -> tuple[str, ...]:
    return tuple(task for task, flag in zip(tasks, flags, strict=True) if flag)
