"""Scores from per-image sufficient statistics, in numpy: what the runner writes and the report recomputes is one code.

`ttt_bench.metrics` makes the statistics on the device; their layout is `ttt_bench.store.STATISTICS_COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def class_iou(confusion: ArrayLike) -> Array:
    """Intersection over union of every class, (K,) in [0, 1], from a confusion matrix (K, K), truth by row.

    A class that occurs neither in truth nor in prediction counts as 0, as in the published evaluation.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    hits = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hits
    return np.divide(hits, union, out=np.zeros_like(hits), where=union > 0)


def align(sums: ArrayLike) -> tuple[float, float]:
    """Least-squares (scale, shift) that maps a prediction on its target, from n, sp, st, spp, stt, spt.

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
    """Root mean squared error with one alignment a group: the sums (6,) of each evaluation batch. NaN if empty."""
    sums = np.asarray(groups, dtype=np.float64).reshape(-1, 6)
    count = sums[:, 0].sum()
    return float(np.sqrt(sum(aligned_squared_error(s) for s in sums) / count)) if count else float("nan")


def constant_rmse(groups: Sequence[ArrayLike]) -> float:
    """What the best constant a group scores: no aligned prediction can score worse. NaN if empty."""
    sums = np.array(groups, dtype=np.float64).reshape(-1, 6)
    sums[:, [1, 3, 5]] = 0.0
    return rmse(list(sums))


def delta_ttt(scores: ArrayLike, base_scores: ArrayLike, lower_is_better: Sequence[bool]) -> float:
    """Mean signed relative change against Base over the tasks, in percent (S4T, section 4.1).

    100/n sum_i (-1)^{l_i} (M_i - M_b,i) / M_b,i, with l_i = 1 where lower is better. NaN where a Base score is 0.
    """
    values, base = np.asarray(scores, dtype=np.float64), np.asarray(base_scores, dtype=np.float64)
    sign = np.where(np.asarray(lower_is_better, dtype=bool), -1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = sign * (values - base) / base
    return float(100.0 * relative.mean()) if np.isfinite(relative).all() else float("nan")


def task_score(task: str, batches: Sequence[Array]) -> float:
    """A task's score from its statistics, one array (images, statistics) an evaluation batch.

    semseg: mean IoU in percent over all classes; depth, edge: RMSE with one alignment a batch; normals: mean angle in
    degrees. Published definitions (datasets: set-level pooling).
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
