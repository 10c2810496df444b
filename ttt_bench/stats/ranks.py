"""Ranks of rows, their correlation with other ranks, and draws that show how sure ranks are.

Rank 1 is the largest value. Ties have the average of their ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri
from scipy.stats import rankdata

from ttt_bench.stats.bootstrap import REPLICATES, SEED, TAIL

Array = NDArray[np.float64]


def ranks(values: ArrayLike) -> Array:
    """Return the rank of each value along the last axis, (..., L); 1 for the largest."""
    return np.asarray(rankdata(-np.asarray(values, dtype=np.float64), axis=-1))


def spearman(first: Array, second: Array) -> Array:
    """Return Spearman's rank correlation along the last axis, (...); NaN if one side is constant.

    It is Pearson's correlation of the ranks, which also holds with ties.

    Args:
        first: (L,).
        second: (..., L).
    """
    a, b = (_centred(ranks(side)) for side in (first, second))
    return _ratio((a * b).sum(axis=-1), np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1)))


def kendall(first: Array, second: Array) -> Array:
    """Return Kendall's tau-b along the last axis, (...); NaN if one side is constant.

    Args:
        first: (L,).
        second: (..., L).
    """
    a, b = _signs(first), _signs(second)
    counts = [(part != 0).sum(axis=(-2, -1)) for part in (a, b)]
    return _ratio((a * b).sum(axis=(-2, -1)), np.sqrt(counts[0] * counts[1]))


CORRELATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "Spearman's rho": spearman,
    "Kendall's tau": kendall,
}
"""The measures of rank correlation by name."""


def quantile_interval(drawn: Array) -> tuple[Array, Array]:
    """Return the ends of the central 95 % of draws, (R, ...) -> (...); NaN if a draw is NaN."""
    low, high = np.quantile(drawn, [TAIL / 2, 1 - TAIL / 2], axis=0)
    return low, high


def drawn_means(
    values: Mapping[int, float], replicates: Array | None, units: int, name: str
) -> Array | None:
    """Return R draws of a row's mean over seeds; None if neither images nor seeds determine them.

    A draw is the observed mean, plus the deviation of a bootstrap replicate of images, plus a
    deviation due to seeds with the spread of Student's t. The latter multiplies each seed's
    deviation by a normal draw that all rows with the same name share, so that what a seed changes
    in all rows cancels between them.

    Args:
        values: seed -> value.
        replicates: the values in the replicates of images, (R, S); None without them.
        units: the number of drawn images or batches.
        name: rows with equal names have equal draws of seeds, for example the pair.
    """
    observed = np.array(list(values.values()))
    images = _image_deviations(replicates, units)
    if images is None and len(observed) < 2:
        return None
    found = np.full(REPLICATES, observed.mean())
    found += 0.0 if images is None else images
    if len(observed) > 1:
        found += _seed_deviations(observed, list(values), name)
    return found


def _image_deviations(replicates: Array | None, units: int) -> Array | None:
    """Return the deviations of the mean over seeds in replicates of images, (R,)."""
    if replicates is None or units < 2 or np.isnan(replicates).any():
        return None
    means = replicates.mean(axis=1)
    return np.asarray(np.sqrt(units / (units - 1)) * (means - means.mean()))


def _seed_deviations(observed: Array, seeds: Sequence[int], name: str) -> Array:
    """Return deviations of a mean over n seeds, (R,), with n - 1 degrees of freedom."""
    number, freedom = len(observed), len(observed) - 1
    scale = np.sqrt(freedom / chdtri(freedom, _rng(name).random(REPLICATES)))
    normal = np.stack([_rng(name, seed).standard_normal(REPLICATES) for seed in seeds])
    # the variance of the sum is s^2 / n
    weights = (observed - observed.mean()) / np.sqrt(number * freedom)
    return np.asarray(scale * (weights @ normal))


def _rng(name: str, *numbers: int) -> np.random.Generator:
    return np.random.default_rng([SEED, crc32(name.encode()), *numbers])


def _centred(found: Array) -> Array:
    return np.asarray(found - found.mean(axis=-1, keepdims=True))


def _signs(values: Array) -> Array:
    """Return the sign of the difference of each pair of values, (..., L) -> (..., L, L)."""
    return np.asarray(np.sign(values[..., :, None] - values[..., None, :]))


def _ratio(above: Array, below: Array) -> Array:
    found: Array = np.divide(
        above, below, out=np.full_like(below, np.nan, dtype=float), where=below > 0
    )
    return found
