"""The numbers of the tables, computed from stored rows: pure functions from frames to frames.

A *label* names a row of a table: a method, with its settings, control and number of steps if they
are not the usual ones. Numbers have full precision.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ttt_bench.metrics.base import metrics_of
from ttt_bench.results.load import plain
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.stats.trajectories import mean_change
from ttt_bench.tasks import TASKS, canonical

DELTA_NO_EDGE, OWN_GAIN, STEP = "delta_ttt_no_edge", "own_gain", "step"
"""Quantities of the main table, in addition to `DELTA` and the tasks' names."""

UNMOVED = 1e-9
"""Relative spread up to which a trajectory counts as constant: below what rounding leaves."""


def is_primary(rows: pd.DataFrame) -> pd.Series:
    """Return a mask of the stored rows that are of their task's primary metric."""
    found = np.zeros(len(rows), dtype=bool)
    for task in TASKS:
        found |= (rows["task"] == task) & (rows["metric"] == metrics_of(task).primary.name)
    return pd.Series(found, index=rows.index)


def score_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the primary metrics of stored rows with `label`.

    Returns:
        Index `label, seed, step`, one column per task in canonical order.
    """
    primary = plain(rows.loc[is_primary(rows), ["label", "seed", "step", "task", "value"]])
    wide = primary.pivot_table(
        index=["label", "seed", "step"], columns="task", values="value", aggfunc="first", sort=True
    )
    return wide[list(canonical(wide.columns))]


def base_scores(scores: pd.DataFrame, base: str) -> pd.DataFrame:
    """Return Base's scores before adapting, one row per seed, one column per task."""
    before = scores.xs(0, level="step").reset_index()
    return before[before["label"] == base].set_index("seed").drop(columns="label")


def delta_tasks(tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the quantities that average over tasks, with their tasks.

    They are `delta_ttt` and, if edge is one of several tasks, `delta_ttt_no_edge`.
    """
    found = {DELTA: tuple(tasks)}
    second = tuple(task for task in tasks if not metrics_of(task).second_delta_without)
    if 0 < len(second) < len(tasks):
        found[DELTA_NO_EDGE] = second
    return found


def delta_frame(scores: pd.DataFrame, base: str | None) -> pd.DataFrame:
    """Return Delta_TTT of every label, seed and step against Base of the same seed, in percent.

    Args:
        scores: as `score_frame` returns them.
        base: the label of Base; rows of seeds without Base are left out, without it all rows.

    Returns:
        The index of `scores`, columns `delta_ttt` and, if edge is one of several tasks,
        `delta_ttt_no_edge`. NaN if a score of Base is 0.
    """
    names = delta_tasks(list(scores.columns))
    if base is None:
        return pd.DataFrame(index=scores.index[:0], columns=list(names), dtype=float)
    reference = base_scores(scores, base)
    known = scores[scores.index.get_level_values("seed").isin(reference.index)]
    of_base = reference.loc[known.index.get_level_values("seed")]
    values = {
        name: mean_change(known[[*kept]].to_numpy(), of_base[[*kept]].to_numpy(), kept)
        for name, kept in names.items()
    }
    return pd.DataFrame(values, index=known.index, dtype=float)


def unmoved(scores: pd.DataFrame) -> pd.DataFrame:
    """Return whether each task's score is the same at every step from 1 on.

    Returns:
        Index `label, seed`, one bool column per task.
    """
    groups = scores[scores.index.get_level_values("step") >= 1].groupby(
        level=["label", "seed"], sort=False
    )
    low, high = groups.min(), groups.max()
    return (high - low) <= UNMOVED * np.maximum(high.abs(), low.abs())


def still_labels(scores: pd.DataFrame) -> frozenset[str]:
    """Return the labels whose scores are equal from step 1 on, in all tasks and seeds."""
    still = unmoved(scores).all(axis=1).groupby(level="label").all()
    return frozenset(str(label) for label in still.index[still])


def other_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and sample standard deviation over seeds of the other metrics at the last step.

    Args:
        rows: stored rows with `label`.

    Returns:
        Columns `label, task, metric, class, mean, sd, seeds`, the last two as `summarise` returns
        them.
    """
    last = rows.groupby(["label", "seed"])["step"].transform("max")
    others = plain(rows[~is_primary(rows) & (rows["step"] == last)])
    groups = others.groupby(["label", "task", "metric", "class"], sort=False)["value"]
    return groups.agg(mean="mean", sd="std", seeds="count").reset_index()


def curve_frame(scores: pd.DataFrame, base: str | None) -> pd.DataFrame:
    """Return every task's score and Delta_TTT over steps.

    Args:
        scores: as `score_frame` returns them.
        base: the label of Base; None if it was not run: no Delta_TTT.

    Returns:
        Columns `label, quantity, step, mean, sd, seeds`: mean and sample standard deviation over
        seeds (NaN for one seed). The quantities are the tasks and those of `delta_frame`.
    """
    wide = scores.join(delta_frame(scores, base)).reset_index()
    long = wide.melt(["label", "seed", "step"], var_name="quantity").dropna(subset="value")
    groups = long.groupby(["label", "quantity", "step"], sort=False)["value"]
    return groups.agg(mean="mean", sd="std", seeds="count").reset_index()


def constant_predictor(statistics: pd.DataFrame) -> dict[str, float]:
    """Return task -> score of the best prediction that never changes, on the same pixels.

    Tasks whose stored sums do not determine it are missing (see `TaskMetrics.constant_words`).

    Args:
        statistics: `schema.STATISTICS_COLUMNS` of one step of any done cell: only the truth counts.
    """
    found = {}
    for task, group in statistics.groupby("task", sort=False):
        # the sums of each evaluation batch, (S,)
        batches = [
            np.sum(np.stack(list(batch)), axis=0) for _, batch in group.groupby("batch")["values"]
        ]
        score = metrics_of(str(task)).constant_score(batches)
        if score is not None:
            found[str(task)] = score
    return {task: found[task] for task in canonical(found)}


def class_pixels(statistics: pd.DataFrame) -> np.ndarray:
    """Return the number of scored target pixels per semantic class, (K,); empty without classes.

    Args:
        statistics: `schema.STATISTICS_COLUMNS` of one step of any done cell: only the truth counts.
    """
    for task, values in statistics.groupby("task", sort=False)["values"]:
        if TASKS[str(task)].needs_labels:
            # n images: (n, S) -> (S,)
            return metrics_of(str(task)).class_pixels(np.sum(np.stack(list(values)), axis=0))
    return np.zeros(0)
