"""Which differences may be claimed: their interval excludes 0 after Holm's correction."""

from __future__ import annotations

import pandas as pd

from ttt_bench.analysis.evidence import BASE, NORM, controls, corrected
from ttt_bench.metrics.base import all_metrics, metrics_of
from ttt_bench.stats.bootstrap import TAIL, estimate
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.summary import other_metrics
from ttt_bench.tasks import TASKS

BETTER, WORSE, OPEN = 1, -1, 0
"""Verdicts on a row against its reference; `OPEN`: no difference is shown."""


def yardstick(comparison: Comparison) -> str | None:
    """Return the reference of bold numbers: `norm` if it has numbers, else Base, else None."""
    if NORM in set(comparison.done["label"]):
        return NORM
    return BASE if comparison.base is not None else None


def verdicts(differences: pd.DataFrame) -> pd.Series:
    """Return the verdict on each row of a frame of differences, as `Evidence.differences` returns.

    A quantity is a task, whose primary metric decides the direction, or an average of changes.
    """
    lower = [q in TASKS and metrics_of(q).lower_is_better for q in differences["quantity"]]
    return judged(differences, pd.Series(lower, index=differences.index, dtype=bool))


def judged(differences: pd.DataFrame, lower_is_better: pd.Series) -> pd.Series:
    """Return the verdicts on differences, of which the second argument is the direction."""
    better = (differences["mean"] > 0) != lower_is_better
    shown = differences["p_holm"] < TAIL
    return (better.map({True: BETTER, False: WORSE}) * shown).astype(int)


def change_verdicts(changes: pd.DataFrame) -> pd.Series:
    """Return the verdict on each change against 0, of which positive is better."""
    return judged(changes, pd.Series(data=False, index=changes.index, dtype=bool))


def further_metrics(comparison: Comparison) -> pd.DataFrame:
    """Return the other metrics at the last step, with verdicts from seeds alone.

    Returns:
        The columns of `summary.other_metrics` and `verdict`, against `yardstick`.
    """
    found = other_metrics(comparison.rows)
    keys = ["label", "task", "metric", "class"]
    compared = _differences(comparison).assign(quantity=lambda frame: frame["metric"])
    if compared.empty:
        return found.assign(verdict=OPEN)
    control = compared["label"].map(controls(comparison))
    compared = corrected(compared, [control, "task", "metric", "class"])
    lower = compared[["task", "metric"]].apply(tuple, axis=1).map(_lower_is_better())
    compared = compared.assign(verdict=judged(compared, lower.astype(bool)))
    merged = found.merge(compared[[*keys, "verdict"]], on=keys, how="left")
    return merged.assign(verdict=merged["verdict"].fillna(OPEN).astype(int))


def _lower_is_better() -> dict[tuple[str, str], bool]:
    return {(metric.task, metric.name): not metric.higher_is_better for metric in all_metrics()}


def _differences(comparison: Comparison) -> pd.DataFrame:
    """Return the differences of the other metrics to the yardstick, paired by seed."""
    rows = comparison.rows
    last = rows.groupby(["label", "seed"])["step"].transform("max")
    names = ["task", "metric", "class"]
    wide = rows[rows["step"] == last].pivot_table(
        index=["label", "seed"], columns=names, values="value", aggfunc="first"
    )
    reference = comparison.base if yardstick(comparison) == BASE else yardstick(comparison)
    labels = wide.index.get_level_values("label")
    frames = []
    for label in labels.unique():
        if reference in labels and label != reference:
            paired = wide.loc[label] - wide.loc[reference]
            frames.append(_estimated(paired.dropna(how="all")).assign(label=label))
    columns = ["label", *names, "mean", "p"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _estimated(paired: pd.DataFrame) -> pd.DataFrame:
    """Return mean and p value of differences, one row per seed, one column per metric."""
    if paired.empty:
        return pd.DataFrame()
    found = estimate(paired.to_numpy())
    return paired.columns.to_frame(index=False).assign(mean=found.mean, p=found.p)
