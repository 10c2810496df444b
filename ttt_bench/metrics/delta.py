"""Delta_TTT, the change against Base over all tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt_bench.errors import BenchError

Array = NDArray[np.float64]


def delta_ttt(scores: ArrayLike, base_scores: ArrayLike, lower_is_better: Sequence[bool]) -> float:
    """Return the mean relative change against Base over tasks, in percent (S4T, section 4.1).

    100/n sum_i (-1)^{l_i} (M_i - M_b,i) / M_b,i, with l_i = 1 if lower is better. NaN if a Base
    score is 0.

    Args:
        scores: (n,), one per task.
        base_scores: (n,), those of Base.
        lower_is_better: n directions, True or False.

    Raises:
        BenchError: the three do not have the same length, or are empty.
    """
    values, base = np.asarray(scores, dtype=np.float64), np.asarray(base_scores, dtype=np.float64)
    lower = np.asarray(lower_is_better)
    if values.ndim != 1 or not len(values) or not values.shape == base.shape == lower.shape:
        raise BenchError(
            f"scores, base_scores and lower_is_better have the shapes {values.shape}, "
            f"{base.shape} and {lower.shape}; give one number of each per task"
        )
    if not np.isin(lower, [False, True]).all():
        raise BenchError(f"lower_is_better is {list(lower_is_better)}; give True or False per task")
    # mean over the n tasks
    return float(relative_changes(values, base, lower.astype(bool)).mean())


def relative_changes(scores: ArrayLike, base: ArrayLike, lower_is_better: ArrayLike) -> Array:
    """Return the signed change against Base in percent, (..., n); positive is better.

    It is NaN where a score of Base is 0 or a score is missing.

    Args:
        scores: (..., n), one per task.
        base: those of Base, of a shape that broadcasts.
        lower_is_better: (n,), True or False.
    """
    sign, reference = np.where(lower_is_better, -1.0, 1.0), np.asarray(base, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 100.0 * (sign * np.subtract(scores, reference) / reference)
    return np.where(np.isfinite(relative), relative, np.nan)
