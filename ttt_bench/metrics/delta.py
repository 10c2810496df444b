"""Delta_TTT, the change against Base over all tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def delta_ttt(scores: ArrayLike, base_scores: ArrayLike, lower_is_better: Sequence[bool]) -> float:
    """Return the mean relative change against Base over tasks, in percent (S4T, section 4.1).

    100/n sum_i (-1)^{l_i} (M_i - M_b,i) / M_b,i, with l_i = 1 if lower is better. NaN if a Base
    score is 0.

    Args:
        scores: (n,), one per task.
        base_scores: (n,), those of Base.
        lower_is_better: n directions.
    """
    values, base = np.asarray(scores, dtype=np.float64), np.asarray(base_scores, dtype=np.float64)
    sign = np.where(np.asarray(lower_is_better, dtype=bool), -1.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = sign * (values - base) / base
    # mean over the n tasks
    return float(100.0 * relative.mean()) if np.isfinite(relative).all() else float("nan")
