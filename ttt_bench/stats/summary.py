"""The numbers of the tables, computed from stored rows: pure functions from frames to frames.

A *label* names a row of a table: a method, with its settings, control and number of steps if they
are not the usual ones. Numbers have full precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ttt_bench.metrics.base import metrics_of
from ttt_bench.metrics.delta import delta_ttt
from ttt_bench.stats.step_rules import DELTA, SECTIONS, StepRule, chosen_steps
from ttt_bench.stats.trajectories import NO_STEP, Trajectories, mean_change, trajectories
from ttt_bench.tasks import TASKS, canonical

DELTA_NO_EDGE, OWN_GAIN, STEP = "delta_ttt_no_edge", "own_gain", "step"
"""Quantities of `summarise`, in addition to `DELTA` and the tasks' names."""

UNMOVED = 1e-9
"""Relative spread up to which a trajectory counts as constant: below what rounding leaves."""

OwnSource = Mapping[tuple[str, int], Mapping[str, float]]
"""(label, seed) -> task -> score of the method's own source model without adapting."""


def is_primary(rows: pd.DataFrame) -> pd.Series:
    """Return a mask of the stored rows that are of their task's primary metric."""
    return rows["metric"] == rows["task"].map(
        {name: metrics_of(name).primary.name for name in TASKS}
    )


def score_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the primary metrics of stored rows with `label`.

    Returns:
        Index `label, seed, step`, one column per task in canonical order.
    """
    primary = rows[is_primary(rows)]
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


def select_steps(found: Trajectories, rules: Sequence[StepRule] = SECTIONS) -> pd.DataFrame:
    """Return the chosen step of each label and seed under each rule.

    Returns:
        Columns `selection, label, seed, step`, with the rule's name in `selection`; cells for which
        a rule cannot choose a step are missing.
    """
    cells = found.cells.to_frame(index=False)
    chosen = [cells.assign(selection=rule.name, step=chosen_steps(rule, found)) for rule in rules]
    picked = pd.concat(chosen, ignore_index=True)
    kept = picked[picked["step"] != NO_STEP]
    return kept[["selection", "label", "seed", "step"]].reset_index(drop=True)


def at_selected_steps(
    scores: pd.DataFrame, deltas: pd.DataFrame, selected: pd.DataFrame, own_source: OwnSource
) -> pd.DataFrame:
    """Return every quantity of every label and seed at its selected step.

    Returns:
        Columns `selection, label, seed, quantity, value`; the quantities are the tasks,
        `delta_ttt`, `delta_ttt_no_edge`, `step`, and, for cells with scores of their own source
        model, `own_gain`: the same measure as Delta_TTT against that model, in percent.
    """
    joined = selected.join(scores, on=["label", "seed", "step"]).join(
        deltas, on=["label", "seed", "step"]
    )
    if own_source:
        joined[OWN_GAIN] = [
            _gain(row, own_source.get((row["label"], row["seed"]), {}), list(scores.columns))
            for _, row in joined.iterrows()
        ]
    joined = (
        joined.assign(chosen=joined["step"].astype(float))
        .drop(columns="step")
        .rename(columns={"chosen": STEP})
    )
    long = joined.melt(["selection", "label", "seed"], var_name="quantity", value_name="value")
    return long.dropna(subset="value").reset_index(drop=True)


def summarise(values: pd.DataFrame) -> pd.DataFrame:
    """Return mean and sample standard deviation over seeds of each `selection, label, quantity`.

    Returns:
        Columns `selection, label, quantity, mean, sd, seeds`: `sd` is NaN for one seed, `seeds` is
        the number of seeds.
    """
    groups = values.groupby(["selection", "label", "quantity"], sort=False)["value"]
    return groups.agg(mean="mean", sd="std", seeds="count").reset_index()


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


def main_table(
    scores: pd.DataFrame, base: str | None = "base", own_source: OwnSource | None = None
) -> pd.DataFrame:
    """Return the main table of one comparison, as `summarise` returns it.

    Args:
        scores: as `score_frame` returns them.
        base: the label of Base; None if it was not run: no Delta_TTT, and only the fixed step.
        own_source: scores of the methods' unadapted source models, if they have their own.
    """
    deltas = delta_frame(scores, base)
    chosen = select_steps(trajectories(scores, base))
    return summarise(at_selected_steps(scores, deltas, chosen, own_source or {}))


def other_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and sample standard deviation over seeds of the other metrics at the last step.

    Args:
        rows: stored rows with `label`.

    Returns:
        Columns `label, task, metric, class, mean, sd, seeds`, the last two as `summarise` returns
        them.
    """
    last = rows.groupby(["label", "seed"])["step"].transform("max")
    others = rows[~is_primary(rows) & (rows["step"] == last)]
    groups = others.groupby(["label", "task", "metric", "class"], sort=False)["value"]
    return groups.agg(mean="mean", sd="std", seeds="count").reset_index()


def curve_frame(scores: pd.DataFrame, base: str | None) -> pd.DataFrame:
    """Return every task's score and Delta_TTT over steps.

    Args:
        scores: as `score_frame` returns them.
        base: the label of Base; None if it was not run: no Delta_TTT.

    Returns:
        Columns `label, quantity, step, mean, sd, seeds`: mean and sample standard deviation over
        seeds (NaN for one seed). The quantities are those of `at_selected_steps` without `step` and
        `own_gain`.
    """
    wide = scores.join(delta_frame(scores, base)).reset_index()
    long = wide.melt(["label", "seed", "step"], var_name="quantity").dropna(subset="value")
    groups = long.groupby(["label", "quantity", "step"], sort=False)["value"]
    return groups.agg(mean="mean", sd="std", seeds="count").reset_index()


def indistinguishable_best(
    means: Sequence[float], sds: Sequence[float], *, higher_is_better: bool
) -> list[bool]:
    """Return which of several means are the best one, or not distinguishable from it.

    A mean is not distinguishable from the best if their difference is at most
    sqrt(sd^2 + sd_best^2), with standard deviations over seeds. If a finite mean has no standard
    deviation, or there are fewer than two finite means, all flags are False.
    """
    values, spreads = np.asarray(means, dtype=float), np.asarray(sds, dtype=float)
    there = np.isfinite(values)
    if there.sum() < 2 or not np.isfinite(spreads[there]).all():
        return [False] * len(values)
    signed = np.where(there, values if higher_is_better else -values, -np.inf)
    best = int(np.argmax(signed))
    near = signed[best] - signed <= np.hypot(spreads, spreads[best])
    return [bool(ok) for ok in near & there]


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
        if metrics_of(str(task)).has_classes:
            # n images: (n, S) -> (S,)
            return metrics_of(str(task)).class_pixels(np.sum(np.stack(list(values)), axis=0))
    return np.zeros(0)


def _gain(row: pd.Series, own: Mapping[str, float], tasks: Sequence[str]) -> float:
    kept = [task for task in tasks if task in own]
    return (
        _delta(row[kept].to_numpy(dtype=float), np.array([own[task] for task in kept]), kept)
        if kept
        else np.nan
    )


def _delta(values: np.ndarray, base: np.ndarray, tasks: Sequence[str]) -> float:
    return delta_ttt(values, base, [metrics_of(task).lower_is_better for task in tasks])
