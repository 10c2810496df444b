"""The step that a rule chooses on some images, scored on others.

A step that is chosen with labels fits the images on which it is chosen, so its score there is too
good. In cross-fitting, the units (images, or whole evaluation batches) are divided into K folds.
The step of a fold is chosen on the other folds. The sums of each unit at the step of its fold are
added over all units, so that the score is that of the whole set and needs no score of a small fold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttt_bench.stats.bootstrap import SEED
from ttt_bench.stats.trajectories import Array, Indices

FOLDS, PARTITIONS = 5, 20
"""Folds K, and random partitions into folds P."""


def partitions(
    units: int, folds: int = FOLDS, repeats: int = PARTITIONS, seed: int = SEED
) -> Indices:
    """Return the fold of each unit in each partition, (P, U).

    The folds of a partition differ by at most one unit. With at most as many units as folds, each
    unit is a fold, which is one partition.

    Args:
        units: the number of units U, at least 2.
        folds: the number of folds.
        repeats: the number of partitions P.
        seed: seed of the draws, the same for everything that is compared.
    """
    draw = np.random.default_rng([seed, units, folds])
    repeats = repeats if units > folds else 1
    equal = np.tile(np.arange(units) % min(folds, units), (repeats, 1))
    return draw.permuted(equal, axis=1).astype(np.intp)


def training_weights(folds: Indices) -> Array:
    """Return the weight of each unit where the step of a fold is chosen, (P, K, U): 0 or 1."""
    numbers = np.arange(folds.max() + 1)
    # (P, 1, U) and (K, 1) -> (P, K, U)
    found: Array = (folds[:, None, :] != numbers[:, None]).astype(np.float64)
    return found


def held_out_sums(sums: Array, steps: Indices, folds: Indices) -> Array:
    """Return the sums of all units, each at the step that was chosen without it, (P, D).

    Args:
        sums: the sums of each unit at each step, (U, T + 1, D).
        steps: the step of each fold, (P, K).
        folds: the fold of each unit, (P, U).
    """
    # (P, K) -> (P, U)
    own: NDArray[np.intp] = np.take_along_axis(steps, folds, axis=1)
    # (U, T + 1, D) -> (P, U, D) -> (P, D)
    found: Array = sums[np.arange(len(sums)), own].sum(axis=1)
    return found
