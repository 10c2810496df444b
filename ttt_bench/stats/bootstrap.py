"""Intervals of means over seeds and images, and their correction for several comparisons.

The same images are scored with every seed, so a mean over seeds varies for two reasons: other
images, and other seeds (source trainings). The variance due to images is that of bootstrap
replicates, which draw *units* with replacement: images, or whole evaluation batches where the
images of a batch depend on each other. The variance due to seeds is that of the mean over seeds
drawn with replacement, in its limit of many draws: s^2 / n, of which the part that images already
explain is subtracted.

Replicates of few units, or draws of few seeds, vary too little, and their quantiles give intervals
that are too short. So each variance has its small-sample factor and the quantile of Student's t of
its own degrees of freedom, U - 1 units and n - 1 seeds, and the squares of the two half-widths are
added (MOVER, the method of variance estimates recovery: Zou and Donner, 2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

Array = NDArray[np.float64]

REPLICATES = 1000
TAIL = 0.05
"""1 - the nominal coverage of intervals."""
SMALLEST, BISECTIONS = -40.0, 50
"""Logarithm of the smallest p value, and the bisections that find one."""
SEED = 20251019
"""Seed of the draws, the same for all tables."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Means over seeds with their intervals, for quantities of any shape (...).

    Attributes:
        mean, sd: mean and sample standard deviation over seeds; `sd` is NaN for one seed.
        low, high: ends of the interval; NaN where neither images nor seeds determine it.
        p: the two-sided p value of a mean of 0: the tail at which the interval ends at 0.
        units: the number of drawn images or batches; 0 if the interval comes from seeds alone.
        seeds: the number of seeds.
    """

    mean: Array
    sd: Array
    low: Array
    high: Array
    p: Array
    units: NDArray[np.intp]
    seeds: int


def weights(units: int, replicates: int = REPLICATES, seed: int = SEED) -> Array:
    """Return how often each unit is drawn in each replicate, (replicates, units)."""
    drawn = np.random.default_rng([seed, units]).multinomial(
        units, np.full(units, 1 / units), size=replicates
    )
    return drawn.astype(np.float64)


def estimate(values: ArrayLike, replicates: Array | None = None, units: int = 0) -> Estimate:
    """Return means over seeds with their intervals.

    Args:
        values: the observed values, (S, ...).
        replicates: the values of R replicates, (R, S, ...), with the same draws for all seeds and
            for everything that is compared; None without statistics of images. Where one is NaN,
            the interval comes from seeds alone.
        units: the number of drawn units U.
    """
    observed = np.asarray(values, dtype=np.float64)
    seeds = len(observed)
    mean = observed.mean(axis=0)
    spread = observed.var(axis=0, ddof=1) if seeds > 1 else np.full_like(mean, np.nan)
    of_images, shared = _image_variances(replicates, units, mean)
    of_seeds = np.maximum(spread - shared, 0.0) / seeds
    parts = [(of_images, units - 1), (of_seeds, seeds - 1)]
    half = half_width(parts, TAIL)
    return Estimate(
        mean=mean,
        sd=np.sqrt(spread),
        low=mean - half,
        high=mean + half,
        p=p_value(mean, parts),
        units=np.where(np.isnan(of_images), 0, units),
        seeds=seeds,
    )


def half_width(parts: list[tuple[Array, int]], tail: float | Array) -> Array:
    """Return half the width of an interval.

    Args:
        parts: (variance, degrees of freedom) of each source of variation; a NaN variance or 0
            degrees of freedom leave a source out.
        tail: 1 - the nominal coverage.
    """
    known = [(variance, df) for variance, df in parts if df > 0]
    if not known:
        return np.full_like(parts[0][0], np.nan)
    # the lower tail is exact for a coverage close to 1
    squares = [stdtrit(df, np.asarray(tail) / 2) ** 2 * variance for variance, df in known]
    stacked = np.stack(np.broadcast_arrays(*squares))
    missing = np.isnan(stacked).all(axis=0)
    return np.where(missing, np.nan, np.sqrt(np.nansum(stacked, axis=0)))


def p_value(mean: Array, parts: list[tuple[Array, int]]) -> Array:
    """Return the tail at which the interval around each mean ends at 0; NaN without an interval.

    The tail is found by bisection of its logarithm.
    """
    low, high = np.full_like(mean, SMALLEST), np.zeros_like(mean)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        inside = half_width(parts, np.exp(middle)) >= np.abs(mean)
        # an interval that contains 0 needs a larger tail to end there
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.where(np.isnan(half_width(parts, TAIL)), np.nan, np.exp(high))


def holm(p: ArrayLike) -> Array:
    """Return p values after Holm's correction for their number; NaN values do not count.

    Sorted p values are multiplied by m, m - 1, ... 1, made ascending and limited to 1 (Holm, 1979).

    Args:
        p: (m,).
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    factors = np.arange(len(order), 0, -1)
    adjusted = np.full_like(values, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return adjusted


def _image_variances(
    replicates: Array | None, units: int, mean: Array
) -> tuple[Array, Array | float]:
    """Return the variance of the mean over seeds due to images, (...), and the part of the
    variance between seeds that is due to images.
    """
    if replicates is None or units < 2:
        return np.full_like(mean, np.nan), 0.0
    factor = units / (units - 1)
    centred = replicates - replicates.mean(axis=0)
    of_mean = factor * centred.mean(axis=1).var(axis=0, ddof=1)
    if replicates.shape[1] < 2:
        return of_mean, 0.0
    shared = factor * centred.var(axis=1, ddof=1).mean(axis=0)
    return of_mean, np.nan_to_num(shared)
