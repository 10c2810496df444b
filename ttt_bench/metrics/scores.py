"""Scores from per-image sufficient statistics and totals, in numpy: what the runner writes and the
report recomputes is one code.

`ttt_bench.metrics.statistics` and `ttt_bench.metrics.totals` make them on the device; their layouts
are `ttt_bench.results.store.STATISTICS_COLUMNS` and `TOTALS_COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

BINS_A_DEGREE = 16
"""Bins of the histogram of angles in a degree: the limits of `WITHIN` are edges of bins."""
ANGLE_BINS = 180 * BINS_A_DEGREE
WITHIN = {"within_11_25": 11.25, "within_22_5": 22.5, "within_30": 30.0}
"""Limits in degrees of the metrics that count small angles."""
CLOSE = 1.25
"""The factor that delta1 allows."""
EDGE_LEVELS = 100
"""Levels of an edge output: how many of the thresholds 0.01, 0.02, ... 0.99 it reaches."""


def class_iou(confusion: ArrayLike) -> Array:
    """Intersection over union of every class, (K,) in [0, 1], from a confusion matrix (K, K), truth
    by row.

    A class that occurs neither in truth nor in prediction counts as 0, as in the published
    evaluation.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    hits = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hits
    return np.divide(hits, union, out=np.zeros_like(hits), where=union > 0)


def align(sums: ArrayLike) -> tuple[float, float]:
    """Least-squares (scale, shift) that maps a prediction on its target, from n, sp, st, spp, stt,
    spt.

    A constant prediction gives scale 0 and the target's mean as shift; without a pixel both are 0.
    """
    n, sp, st, spp, _, spt = np.asarray(sums, dtype=np.float64)
    if n == 0:
        return 0.0, 0.0
    variance = spp - sp * sp / n
    # below the rounding of the sums nothing can be told from a constant
    if variance <= 1e-12 * max(spp, 1e-300):
        return 0.0, st / n
    scale = (spt - sp * st / n) / variance
    return float(scale), float((st - scale * sp) / n)


def aligned_squared_error(sums: ArrayLike) -> float:
    """Sum of squared errors after `align`, from the same sums (6,)."""
    n, sp, st, _, stt, spt = np.asarray(sums, dtype=np.float64)
    if n == 0:
        return 0.0
    scale, _ = align(sums)
    spread = stt - st * st / n
    return float(max(spread - scale * (spt - sp * st / n), 0.0))


def rmse(groups: Sequence[ArrayLike]) -> float:
    """Root mean squared error with one alignment a group: the sums (6,) of each evaluation
    batch. NaN if empty.
    """
    sums = np.asarray(groups, dtype=np.float64).reshape(-1, 6)
    count = sums[:, 0].sum()
    return (
        float(np.sqrt(sum(aligned_squared_error(s) for s in sums) / count))
        if count
        else float("nan")
    )


def constant_rmse(groups: Sequence[ArrayLike]) -> float:
    """What the best constant a group scores: no aligned prediction can score worse. NaN if
    empty.
    """
    sums = np.array(groups, dtype=np.float64).reshape(-1, 6)
    sums[:, [1, 3, 5]] = 0.0
    return rmse(list(sums))


def delta_ttt(scores: ArrayLike, base_scores: ArrayLike, lower_is_better: Sequence[bool]) -> float:
    """Mean signed relative change against Base over the tasks, in percent (S4T, section 4.1).

    100/n sum_i (-1)^{l_i} (M_i - M_b,i) / M_b,i, with l_i = 1 where lower is better. NaN where a
    Base score is 0.
    """
    values, base = np.asarray(scores, dtype=np.float64), np.asarray(base_scores, dtype=np.float64)
    sign = np.where(np.asarray(lower_is_better, dtype=bool), -1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = sign * (values - base) / base
    return float(100.0 * relative.mean()) if np.isfinite(relative).all() else float("nan")


def task_score(task: str, batches: Sequence[Array]) -> float:
    """A task's score from its statistics, one array (images, statistics) an evaluation batch.

    semseg: mean IoU in percent over all classes; depth, edge: RMSE with one alignment a batch;
    normals: mean angle in degrees. Published definitions (datasets: set-level pooling).
    """
    pooled = [np.asarray(batch, dtype=np.float64).sum(axis=0) for batch in batches]
    if task == "semseg":
        total = np.sum(pooled, axis=0)
        classes = round(len(total) ** 0.5)
        return float(100.0 * class_iou(total.reshape(classes, classes)).mean())
    if task == "normals":
        count, angles = np.sum(pooled, axis=0)
        return float(angles / count) if count else float("nan")
    return rmse(pooled)


def median_angle(counts: ArrayLike) -> float:
    """The median in degrees of a histogram of angles (`ANGLE_BINS`,), even within a bin; NaN if
    empty.
    """
    bins = np.asarray(counts, dtype=np.float64)
    up_to = bins.cumsum()
    half = up_to[-1] / 2
    if not half:
        return float("nan")
    place = int(np.searchsorted(up_to, half))
    return float((place + 1 - (up_to[place] - half) / bins[place]) / BINS_A_DEGREE)


def share_below(counts: ArrayLike, degrees: float) -> float:
    """The percentage of a histogram of angles (`ANGLE_BINS`,) below a limit, an edge of its
    bins; NaN if empty.
    """
    bins = np.asarray(counts, dtype=np.float64)
    total = bins.sum()
    return (
        float(100.0 * bins[: round(degrees * BINS_A_DEGREE)].sum() / total)
        if total
        else float("nan")
    )


def ods_f(counts: ArrayLike) -> float:
    """The best F in [0, 1] over all thresholds, one for the whole set, from `totals.edge_matches`
    (3 * 100,).

    At a threshold F = 2 P R / (P + R), P being the share of edge pixels with a true one near them,
    and R the share of true ones with an edge pixel near them; 0 where there is neither.
    """
    levels = np.asarray(counts, dtype=np.float64).reshape(3, EDGE_LEVELS)
    # from level k on: what reaches the threshold k / 100
    reaching = levels[:, ::-1].cumsum(axis=1)[:, ::-1]
    (alone, right, found), true = reaching[:, 1:], reaching[2, 0]
    # P = right / (alone + right) and R = found / true, multiplied out
    below = right * true + found * (alone + right)
    return float(
        np.divide(2 * right * found, below, out=np.zeros_like(below), where=below > 0).max()
    )


def task_scores(
    task: str, batches: Sequence[Array], totals: Array | None
) -> dict[str, float | Array]:
    """Every score of a task that its numbers give, by the metric's name in `tasks.METRICS`, units
    as there.

    Args:
        batches: as for `task_score`, which gives the primary one.
        totals: the task's totals over the same images; None where it has none.

    Returns:
        A number, or one a class (K,), a metric. What no pixel allows to be told is left out, but
        for the primary one.
    """
    primary = task_score(task, batches)
    if task == "semseg":
        return {
            "miou": primary,
            **_class_scores(np.sum([np.sum(batch, axis=0) for batch in batches], axis=0)),
        }
    if task == "normals":
        return {
            "merr": primary,
            **({} if totals is None or not totals.any() else _angle_scores(totals)),
        }
    if task == "depth":
        return {
            "rmse": primary,
            **({} if totals is None or not totals[0] else _ratio_scores(totals)),
        }
    return {"rmse": primary, **({} if totals is None else {"ods_f": 100.0 * ods_f(totals)})}


def _class_scores(counts: Array) -> dict[str, float | Array]:
    classes = round(len(counts) ** 0.5)
    confusion = counts.reshape(classes, classes)
    valid = confusion.sum()
    accuracy = {"pixel_accuracy": float(100.0 * np.trace(confusion) / valid)} if valid else {}
    return {**accuracy, "iou": 100.0 * class_iou(confusion)}


def _angle_scores(histogram: Array) -> dict[str, float | Array]:
    within = {name: share_below(histogram, degrees) for name, degrees in WITHIN.items()}
    return {"median": median_angle(histogram), **within}


def _ratio_scores(totals: Array) -> dict[str, float | Array]:
    count, error, close = totals.tolist()
    return {"abs_rel": error / count, "delta1": 100.0 * close / count}
