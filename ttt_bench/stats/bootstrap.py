"""Intervals of means over seeds and images, and their correction for several comparisons.

The same images are scored with every seed, so a mean over seeds varies for two reasons: other
images, and other seeds (source trainings). The variance due to images is that of bootstrap
replicates, which draw *units* with replacement: images, or whole evaluation batches where the
images of a batch depend on each other. The variance due to seeds is that of the mean over seeds
drawn with replacement, with the factor n / (n - 1): s^2 / n. The part of it that images already
explain is subtracted, but never so much that the sum is below s^2 / n.

The interval is Student's t. Its degrees of freedom are the harmonic mean of U - 1 (units) and n - 1
(seeds), weighted by the shares of the two variances before the subtraction. Satterthwaite's
formula, which squares the shares, and quantiles of replicates cover too seldom with two degrees of
freedom (`tests/stats/test_bootstrap.py` and `tests/support/coverage.py` measure coverage).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

Array = NDArray[np.float64]

REPLICATES = 1000
TAIL = 0.05
"""1 - the nominal coverage of intervals."""
SEED = 20251019
"""Seed of the draws, the same for all tables."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Means over seeds with their intervals, for quantities of any shape (...).

    Attributes:
        mean, sd: mean and sample standard deviation over seeds; `sd` is NaN for one seed.
        low, high: ends of the interval; NaN where neither images nor seeds determine it.
        p: the two-sided p value of a mean of 0.
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
    of_images, explained = _image_variances(replicates, units, mean)
    of_seeds = spread / seeds
    variance = total_variance(of_images, of_seeds, explained / seeds)
    freedom = degrees_of_freedom([(of_images, units - 1), (of_seeds, seeds - 1)])
    half = -stdtrit(freedom, TAIL / 2) * np.sqrt(variance)
    return Estimate(
        mean=mean,
        sd=np.sqrt(spread),
        low=mean - half,
        high=mean + half,
        p=_p_value(mean, variance, freedom),
        units=np.where(np.isnan(of_images), 0, units),
        seeds=seeds,
    )


def total_variance(of_images: Array, of_seeds: Array, explained: Array | float) -> Array:
    """Return the variance of a mean over seeds; NaN where both sources are unknown.

    Args:
        of_images: the variance due to images; NaN if unknown.
        of_seeds: the variance due to seeds, s^2 / n; NaN for one seed.
        explained: the part of `of_seeds` that is due to images.
    """
    images, seeds = np.nan_to_num(of_images), np.nan_to_num(of_seeds)
    total = np.maximum(images + np.maximum(seeds - explained, 0.0), seeds)
    return np.where(np.isnan(of_images) & np.isnan(of_seeds), np.nan, total)


def degrees_of_freedom(parts: list[tuple[Array, int]]) -> Array:
    """Return the harmonic mean of degrees of freedom, weighted by shares of the variance.

    Args:
        parts: (variance, degrees of freedom) of each source; a NaN variance leaves a source out.
    """
    variances = np.stack([variance for variance, _ in parts])
    # without any variance the weights do not matter
    zero = np.nansum(variances, axis=0) == 0
    weight = np.nan_to_num(variances) + ~np.isnan(variances) * zero
    inverse = np.sum([w / max(df, 1) for w, (_, df) in zip(weight, parts, strict=True)], axis=0)
    total = weight.sum(axis=0)
    found: Array = np.divide(total, inverse, out=np.ones_like(total), where=inverse > 0)
    return found


def _p_value(mean: Array, variance: Array, freedom: Array) -> Array:
    """Return the two-sided p value of Student's t; 1 for a mean of exactly 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(mean) / np.sqrt(variance)
    p = 2 * stdtr(freedom, -t)
    return np.where((mean == 0) & ~np.isnan(variance), 1.0, p)


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
    variance between seeds that images explain.
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
