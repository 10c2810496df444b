"""The least-squares alignment of a prediction with its target, and the errors after it.

Everything is computed from sums over pixels, (6,): n, sum p, sum t, sum p^2, sum t^2, sum p t, for
a prediction p and a target t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

CONSTANT = 1e-12
"""A variance below this share of sum p^2 is rounding, and the prediction counts as constant."""


def align(sums: Any) -> tuple[Any, Any]:
    """Return the (scale, shift) that maps a prediction on its target with least squares.

    A constant prediction gives scale 0 and the target's mean as shift; without pixels both are 0.
    The arithmetic is free of branches, so that it also runs on a device without a transfer.

    Args:
        sums: (6, ...) float64, a NumPy array or a tensor; the results are of the same kind.
    """
    n, sp, st, spp, _, spt = sums
    n = n + (n == 0)
    variance = spp - sp * sp / n
    varies = variance > CONSTANT * spp
    # the denominator is 1 for a constant prediction, and never 0
    scale = varies * (spt - sp * st / n) / (varies * variance + ~varies)
    return scale, (st - scale * sp) / n


def aligned_squared_error(sums: ArrayLike) -> float:
    """Return the sum of squared errors after `align`, from the sums (6,)."""
    values = np.asarray(sums, dtype=np.float64)
    n, sp, st, _, stt, spt = values
    if n == 0:
        return 0.0
    scale, _ = align(values)
    spread = stt - st * st / n
    return float(max(spread - scale * (spt - sp * st / n), 0.0))


def squared_errors(images: ArrayLike, batch: NDArray[np.intp]) -> Array:
    """Return the sum of squared errors of each image, (..., B), after its batch's alignment.

    Args:
        images: the sums of each image, (..., B, 6).
        batch: the number of each image's batch, (B,), ascending from 0.
    """
    values = np.asarray(images, dtype=np.float64)
    starts = np.searchsorted(batch, np.arange(batch[-1] + 1))
    # the sums of G batches: (..., B, 6) -> (6, ..., G)
    groups = np.moveaxis(np.add.reduceat(values, starts, axis=-2), -1, 0)
    scale, shift = (found[..., batch] for found in align(groups))
    n, p, t, pp, tt, pt = np.moveaxis(values, -1, 0)
    # the sum of (scale p + shift - t)^2, multiplied out
    squares = scale * scale * pp + tt + n * shift * shift
    return np.asarray(squares + 2 * (scale * shift * p - scale * pt - shift * t))


def rmse(groups: Sequence[ArrayLike]) -> float:
    """Return the root mean squared error with one alignment per group; NaN without pixels.

    Args:
        groups: the sums (6,) of each evaluation batch.
    """
    # G groups: (G, 6)
    sums = np.asarray(groups, dtype=np.float64).reshape(-1, 6)
    count = sums[:, 0].sum()
    if not count:
        return float("nan")
    return float(np.sqrt(sum(aligned_squared_error(group) for group in sums) / count))


def constant_rmse(groups: Sequence[ArrayLike]) -> float:
    """Return the `rmse` of the best constant per group: the largest that an alignment leaves."""
    # G groups: (G, 6)
    sums = np.array(groups, dtype=np.float64).reshape(-1, 6)
    sums[:, [1, 3, 5]] = 0.0
    return rmse(list(sums))
