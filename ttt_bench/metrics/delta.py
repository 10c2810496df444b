"""Delta_TTT, the change against Base over all tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ttt_bench.errors import BenchError


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
    sign = np.where(lower.astype(bool), -1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = sign * (values - base) / base
    # mean over the n tasks
    return float(100.0 * relative.mean()) if np.isfinite(relative).all() else float("nan")
