"""Synchronisation of the tasks during adaptation: step variance, DTW and cosine similarity.

A *trajectory* is one task's score at adaptation steps 1..T; n of them are an array (n, T). Inputs
are converted to NumPy arrays, and results are float64. Equations 1 to 4 are those of S4T's
supplement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def peak_steps(trajectories: ArrayLike, lower_is_better: Sequence[bool]) -> NDArray[np.int64]:
    """Return the step at which each task is best, (n,), counted from 1; the first one on ties.

    t_i* = argmax_t Y_i(t), or argmin if lower is better.
    """
    # (n, T) -> (n,)
    return np.argmax(orient(trajectories, lower_is_better), axis=1).astype(np.int64) + 1


def step_variance(trajectories: ArrayLike, lower_is_better: Sequence[bool]) -> float:
    """Return SV, the spread of the tasks' peak steps, in steps (eq. 1).

    SV = sqrt(1/n sum_i (t_i* - mean t*)^2), the population standard deviation, which the paper
    calls a variance. It is 0 if all tasks have their peak at the same step.
    """
    return float(np.std(peak_steps(trajectories, lower_is_better)))


def dtw_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Return the dynamic-time-warping distance of two trajectories, in their unit (eq. 2).

    D(i, j) = |a_i - b_j| + min(D(i-1, j), D(i, j-1), D(i-1, j-1)), from (1, 1) to (T, T2), without
    a window and without a division by the length of the path.

    Args:
        first: (T,).
        second: (T2,).

    Raises:
        ValueError: a trajectory is empty.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not (a.size and b.size):
        raise ValueError("dtw_distance: both trajectories need at least one step")
    cost = np.abs(a[:, None] - b[None, :])
    total = np.full((a.size + 1, b.size + 1), np.inf)
    total[0, 0] = 0.0
    for i in range(a.size):
        for j in range(b.size):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j + 1], total[i + 1, j], total[i, j])
    return float(total[-1, -1])


def mean_dtw(trajectories: ArrayLike) -> float:
    """Return DTW, the mean of `dtw_distance` over unordered pairs of rows of (n, T) (eq. 2).

    Raises:
        ValueError: there are fewer than two rows.
    """
    return _mean_over_pairs(np.asarray(trajectories, dtype=np.float64), dtw_distance)


def cosine_similarity(trajectories: ArrayLike, reduction: Literal["sum", "mean"] = "sum") -> float:
    """Return CS, the agreement of the tasks' directions (eq. 3 and 4).

    With d_i(t) = Y_i(t+1) - Y_i(t), the similarity of two tasks is
    sum_t d_i(t) d_j(t) / (|d_i(t)| |d_j(t)|) over the T - 1 increments. Each increment adds 1 (same
    direction), -1 (opposite directions) or 0 (a task does not change). CS is the mean over
    unordered pairs of tasks.

    Args:
        trajectories: (n, T).
        reduction: `sum`, or `mean`, which divides by T - 1, so that CS is in [-1, 1].

    Raises:
        ValueError: there are fewer than two rows, `mean` of a single step, or another reduction.
    """
    signs = np.sign(np.diff(np.asarray(trajectories, dtype=np.float64), axis=1))
    total = _mean_over_pairs(signs, lambda first, second: float(first @ second))
    if reduction == "sum":
        return total
    if reduction != "mean":
        raise ValueError(f"cosine_similarity: reduction must be 'sum' or 'mean', got {reduction!r}")
    if signs.shape[1] == 0:
        raise ValueError("cosine_similarity: a mean over steps needs at least two steps")
    return total / signs.shape[1]


def orient(trajectories: ArrayLike, lower_is_better: Sequence[bool]) -> Array:
    """Return the trajectories (n, T) with higher is better: the other rows are negated."""
    sign = np.where(np.asarray(lower_is_better, dtype=bool), -1.0, 1.0)
    return np.asarray(trajectories, dtype=np.float64) * sign[:, None]


def normalize(
    trajectories: ArrayLike,
    method: Literal["none", "minmax", "relative"] = "none",
    base: ArrayLike | None = None,
) -> Array:
    """Return the trajectories (n, T) on a scale that tasks share.

    Args:
        trajectories: (n, T).
        method: `none` returns a copy. `minmax` returns (Y - min) / (max - min) of each row; a
            constant row gives zeros. `relative` returns 100 (Y - base) / base, in percent.
        base: (n,), for `relative`.

    Raises:
        ValueError: `relative` without `base`, or another method.
    """
    values = np.asarray(trajectories, dtype=np.float64)
    if method == "none":
        return values.copy()
    if method == "minmax":
        # over the steps: (n, T) -> (n, 1)
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        return np.divide(values - low, high - low, out=np.zeros_like(values), where=high > low)
    if method != "relative":
        raise ValueError(
            f"normalize: method must be 'none', 'minmax' or 'relative', got {method!r}"
        )
    if base is None:
        raise ValueError("normalize: 'relative' needs the base scores")
    reference = np.asarray(base, dtype=np.float64)[:, None]
    return 100.0 * (values - reference) / reference


def _mean_over_pairs(rows: Array, measure: Callable[[Array, Array], float]) -> float:
    if len(rows) < 2:
        raise ValueError("at least two trajectories are needed to compare them")
    return float(np.mean([measure(first, second) for first, second in combinations(rows, 2)]))
