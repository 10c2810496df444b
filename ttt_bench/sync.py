"""Synchronisation of the tasks during adaptation: step variance, DTW and cosine similarity.

A *trajectory* is one task's score at adaptation steps 1..T. n of them are an array (n, T). Every
function takes leading axes as well, (..., n, T), and then returns one value per set of
trajectories, (...). A trajectory with NaN is a missing task and is left out. Inputs are converted
to NumPy arrays, and results are float64.

`step_variance`, `mean_dtw` and `cosine_similarity` are the *raw* measures: equations 1 to 4 of
S4T's supplement, as published. They depend on the level of the curves (DTW), on the number of steps
(all of them) and on rounding (SV, CS). `peak_spread`, `curve_distance` and `direction_agreement`
are the *scale-free* forms. They take curves over steps 0..N as `unit_curves` returns them: without
level, scaled per task, without flat curves. docs/synchronisation.md compares both with the truth
on made curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

FLAT = 1e-3
"""Relative change up to which a curve counts as flat: 0.1 % of its largest absolute value."""

NEAR = 0.1
"""Share of a curve's range within which a score counts as equal to the best one."""

_CHUNK = 4096
"""Pairs of trajectories that are compared at once, so that a row of the table stays in cache."""


def peak_steps(trajectories: ArrayLike, lower_is_better: Sequence[bool]) -> NDArray[np.int64]:
    """Return the step at which each task is best, (..., n), counted from 1; the first on ties.

    t_i* = argmax_t Y_i(t), or argmin if lower is better.
    """
    # (..., n, T) -> (..., n)
    found: NDArray[np.int64] = (
        np.argmax(orient(trajectories, lower_is_better), axis=-1).astype(np.int64) + 1
    )
    return found


def step_variance(trajectories: ArrayLike, lower_is_better: Sequence[bool]) -> Array:
    """Return SV, the spread of the tasks' peak steps, in steps (eq. 1).

    SV = sqrt(1/n sum_i (t_i* - mean t*)^2), the population standard deviation, which the paper
    calls a variance. It is 0 if all tasks have their peak at the same step.
    """
    values = np.asarray(trajectories, dtype=np.float64)
    steps = peak_steps(values, lower_is_better).astype(np.float64)
    return _spread(np.where(_present(values), steps, np.nan))


def dtw_distance(first: ArrayLike, second: ArrayLike) -> Array:
    """Return the dynamic-time-warping distance of two trajectories, in their unit (eq. 2).

    D(i, j) = |a_i - b_j| + min(D(i-1, j), D(i, j-1), D(i-1, j-1)), from (1, 1) to (T, T2), without
    a window and without a division by the length of the path.

    Args:
        first: (..., T).
        second: (..., T2), with the same leading axes.

    Raises:
        ValueError: a trajectory is empty.
    """
    return _warped(np.asarray(first, np.float64), np.asarray(second, np.float64), step_cost=0.0)


def mean_dtw(trajectories: ArrayLike) -> Array:
    """Return DTW, the mean of `dtw_distance` over unordered pairs of the n rows (eq. 2).

    Raises:
        ValueError: there are fewer than two rows.
    """
    return _mean(dtw_distance(*_pairs(np.asarray(trajectories, dtype=np.float64))))


def cosine_similarity(trajectories: ArrayLike, reduction: Literal["sum", "mean"] = "sum") -> Array:
    """Return CS, the agreement of the tasks' directions (eq. 3 and 4).

    With d_i(t) = Y_i(t+1) - Y_i(t), the similarity of two tasks is
    sum_t d_i(t) d_j(t) / (|d_i(t)| |d_j(t)|) over the T - 1 increments. Each increment adds 1 (same
    direction), -1 (opposite directions) or 0 (a task does not change). CS is the mean over
    unordered pairs of tasks.

    Args:
        trajectories: (..., n, T).
        reduction: `sum`, or `mean`, which divides by T - 1, so that CS is in [-1, 1].

    Raises:
        ValueError: there are fewer than two rows, `mean` of a single step, or another reduction.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"cosine_similarity: reduction must be 'sum' or 'mean', got {reduction!r}")
    first, second = _pairs(np.sign(np.diff(np.asarray(trajectories, dtype=np.float64))))
    # (..., pairs, T - 1) -> (...)
    total = _mean((first * second).sum(axis=-1))
    if reduction == "sum":
        return total
    if first.shape[-1] == 0:
        raise ValueError("cosine_similarity: a mean over steps needs at least two steps")
    found: Array = total / first.shape[-1]
    return found


def orient(trajectories: ArrayLike, lower_is_better: Sequence[bool]) -> Array:
    """Return the trajectories (..., n, T) with higher is better: the other rows are negated."""
    sign = np.where(np.asarray(lower_is_better, dtype=bool), -1.0, 1.0)
    return np.asarray(trajectories, dtype=np.float64) * sign[:, None]


def normalize(
    trajectories: ArrayLike,
    method: Literal["none", "minmax", "relative"] = "none",
    base: ArrayLike | None = None,
) -> Array:
    """Return the trajectories (..., n, T) on a scale that tasks share.

    Args:
        trajectories: (..., n, T).
        method: `none` returns a copy. `minmax` returns (Y - min) / (max - min) of each row; a
            constant row gives zeros. `relative` returns 100 (Y - base) / base, in percent.
        base: (..., n), for `relative`.

    Raises:
        ValueError: `relative` without `base`, or another method.
    """
    values = np.asarray(trajectories, dtype=np.float64)
    if method == "none":
        return values.copy()
    if method == "minmax":
        # over the steps: (..., n, T) -> (..., n, 1)
        low, high = values.min(axis=-1, keepdims=True), values.max(axis=-1, keepdims=True)
        found: Array = np.divide(
            values - low, high - low, out=np.zeros_like(values), where=high > low
        )
        return found
    if method != "relative":
        raise ValueError(
            f"normalize: method must be 'none', 'minmax' or 'relative', got {method!r}"
        )
    if base is None:
        raise ValueError("normalize: 'relative' needs the base scores")
    reference = np.asarray(base, dtype=np.float64)[..., None]
    return 100.0 * (values - reference) / reference


def flat_curves(curves: ArrayLike, flat: float = FLAT) -> NDArray[np.bool_]:
    """Return which curves change by at most `flat` times their largest absolute value.

    Args:
        curves: (..., n, N + 1), steps 0..N.

    Returns:
        (..., n). False for a missing task.
    """
    values = np.asarray(curves, dtype=np.float64)
    low, high = values.min(axis=-1), values.max(axis=-1)
    found: NDArray[np.bool_] = (high - low) <= flat * np.maximum(np.abs(low), np.abs(high))
    return found


def unit_curves(
    curves: ArrayLike, lower_is_better: Sequence[bool], flat: ArrayLike | None = None
) -> Array:
    """Return curves from 0, each task's worst score, to 1, its best.

    A measure of these curves depends neither on the level of a score nor on its unit or gain.

    Args:
        curves: (..., n, N + 1), scores at steps 0..N.
        flat: which curves to leave out, (..., n) or (n,). Default: those of `flat_curves`.

    Returns:
        (..., n, N + 1). A flat curve, whose scaled values would be noise, is NaN.
    """
    values = np.asarray(curves, dtype=np.float64)
    left_out = flat_curves(values) if flat is None else np.asarray(flat, dtype=bool)
    scaled = normalize(orient(values, lower_is_better), "minmax")
    return np.where((left_out | ~_present(values))[..., None], np.nan, scaled)


def peak_times(curves: ArrayLike, near: float = NEAR) -> Array:
    """Return the time at which each curve first comes near its best score, in steps from 0.

    Steps whose scores differ by less than noise are tied. Of the tied steps the first one counts,
    as in eq. 1: the first step with a score of at least 1 - `near`, linearly interpolated between
    steps. A curve that starts near its best score has its peak at 0.

    Args:
        curves: (..., n, N + 1), as `unit_curves` returns them.

    Returns:
        (..., n). NaN for a curve that is left out.
    """
    values = np.asarray(curves, dtype=np.float64)
    level = 1.0 - near
    # (..., n, N + 1) -> (..., n, 1)
    first = np.argmax(values >= level, axis=-1)[..., None]
    at, before = _take(values, first), _take(values, np.maximum(first - 1, 0))
    back = np.divide(at - level, at - before, out=np.zeros_like(at), where=first > 0)
    return np.where(_present(values), (first - back)[..., 0], np.nan)


def peak_spread(curves: ArrayLike, near: float = NEAR) -> Array:
    """Return the scale-free SV: the standard deviation of `peak_times` as a share of N.

    Eq. 1 over steps 0..N with ties resolved. It is in [0, 1/2], and 0 if all tasks come near their
    best score at the same time. It measures lag.

    Args:
        curves: (..., n, N + 1), as `unit_curves` returns them.

    Returns:
        (...). NaN with fewer than two curves.
    """
    times = peak_times(curves, near)
    several = (~np.isnan(times)).sum(axis=-1) > 1
    return np.where(several, _spread(times), np.nan)[()] / _last_step(curves)


def curve_distance(curves: ArrayLike) -> Array:
    """Return the scale-free DTW: the mean distance of two curves in the unit square, per step.

    Eq. 2 between the points (t / N, y_i(t)) and (t / N, y_j(t)), whose distance is
    |y_i(s) - y_j(t)| + |s - t| / N, divided by the N + 1 steps; mean over unordered pairs of tasks.
    Eq. 2 itself warps time at no cost, and so removes the lag that it should measure. This form
    is in [0, 1], at most the mean absolute difference of the curves, and 0 if they are equal. It
    measures lag and disagreement of shape.

    Args:
        curves: (..., n, N + 1), as `unit_curves` returns them.

    Returns:
        (...). NaN with fewer than two curves.

    Raises:
        ValueError: there are fewer than two rows.
    """
    first, second = _pairs(np.asarray(curves, dtype=np.float64))
    steps = _last_step(curves)
    return _mean(_warped(first, second, step_cost=1.0 / steps)) / (steps + 1)


def direction_agreement(curves: ArrayLike) -> Array:
    """Return the scale-free CS: the share of common motion in which two tasks agree.

    Eq. 3 with weights. Each increment adds 1 (same direction) or -1 (opposite directions) times the
    smaller of the two tasks' changes, and the sum is divided by the sum of these weights. An
    increment at which a task rests therefore counts little. The mean over unordered pairs of tasks
    is in [-1, 1]: with p the share of common motion in opposite directions, it is 1 - 2 p.

    Args:
        curves: (..., n, N + 1), as `unit_curves` returns them.

    Returns:
        (...). NaN with fewer than two curves, or if no two of them change at the same step.

    Raises:
        ValueError: there are fewer than two rows.
    """
    first, second = _pairs(np.diff(np.asarray(curves, dtype=np.float64)))
    weight = np.minimum(np.abs(first), np.abs(second))
    # (..., pairs, N) -> (..., pairs)
    agreed = (np.sign(first * second) * weight).sum(axis=-1)
    common = weight.sum(axis=-1)
    return _mean(np.divide(agreed, common, out=np.full_like(common, np.nan), where=common > 0))


def _warped(first: Array, second: Array, *, step_cost: float) -> Array:
    """Return the cost of the cheapest warping path of each pair; see `dtw_distance`.

    Args:
        first: (..., T).
        second: (..., T2).
        step_cost: the cost of a pair of steps (i, j), in addition to |a_i - b_j|, times |i - j|.
    """
    if not (first.shape[-1] and second.shape[-1]):
        raise ValueError("dtw_distance: both trajectories need at least one step")
    # (..., T) -> (T, all pairs)
    a, b = (rows.reshape(-1, rows.shape[-1]).T for rows in (first, second))
    parts = [slice(start, start + _CHUNK) for start in range(0, a.shape[1], _CHUNK)]
    costs = [_path_costs(a[:, part].copy(), b[:, part].copy(), step_cost) for part in parts]
    return np.concatenate([np.zeros(0), *costs]).reshape(first.shape[:-1])


def _path_costs(a: Array, b: Array, step_cost: float) -> Array:
    """Return the cost of the cheapest path of each column of (T, pairs) and (T2, pairs)."""
    above = np.full((len(b) + 1, b.shape[1]), np.inf)
    above[0] = 0.0
    for i, value in enumerate(a):
        row = np.full_like(above, np.inf)
        cost = np.abs(value - b) + step_cost * np.abs(i - np.arange(len(b)))[:, None]
        for j in range(len(b)):
            best = np.minimum(np.minimum(above[j], above[j + 1]), row[j])
            np.add(cost[j], best, out=row[j + 1])
        above = row
    found: Array = above[-1]
    return found


def _pairs(rows: Array) -> tuple[Array, Array]:
    """Return the first and the second row of every unordered pair, (..., n, T) -> (..., P, T)."""
    if rows.shape[-2] < 2:
        raise ValueError("at least two trajectories are needed to compare them")
    first, second = zip(*combinations(range(rows.shape[-2]), 2), strict=True)
    return rows[..., list(first), :], rows[..., list(second), :]


def _present(trajectories: Array) -> NDArray[np.bool_]:
    """Return which tasks have all their scores, (..., n, T) -> (..., n)."""
    return np.asarray(~np.isnan(trajectories).any(axis=-1))


def _mean(values: Array) -> Array:
    """Return the mean over the last axis of the values that are not NaN; NaN without one."""
    there = ~np.isnan(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)[()]


def _spread(steps: Array) -> Array:
    """Return the population standard deviation over the last axis, without NaN values."""
    return np.sqrt(_mean((steps - _mean(steps)[..., None]) ** 2))


def _take(values: Array, step: NDArray[np.int64]) -> Array:
    return np.take_along_axis(values, step, axis=-1)


def _last_step(curves: ArrayLike) -> int:
    """Return N, at least 1: a curve of a single step is flat and left out anyway."""
    found: int = max(np.shape(curves)[-1] - 1, 1)
    return found
