"""The rules of the main table: the best step, chosen with labels, and the last step."""

from __future__ import annotations

import numpy as np

from ttt_bench.stats.step_rules.base import StepRule
from ttt_bench.stats.trajectories import NO_STEP, Indices, Trajectories


class Oracle(StepRule):
    """The step of 1..N with the best Delta_TTT of each seed, the first one on ties."""

    name = "oracle"
    heading = "oracle step"
    detail = "the best average Delta_TTT over steps, chosen per seed with labels"
    needs = "scores of Base with the same seed"
    uses_labels = True
    published = True

    def choose(self, trajectories: Trajectories) -> Indices:
        possible = trajectories.adapted & ~np.isnan(trajectories.deltas)
        # (..., C, T + 1) -> (..., C)
        best = np.where(possible, trajectories.deltas, -np.inf).argmax(axis=-1)
        return np.where(possible.any(axis=-1), best, NO_STEP)


class Fixed(StepRule):
    """The last step, N."""

    name = "fixed"
    heading = "fixed step"
    detail = "the last one"

    def choose(self, trajectories: Trajectories) -> Indices:
        return np.broadcast_to(trajectories.last, trajectories.deltas.shape[:-1])


ORACLE, FIXED = Oracle(), Fixed()
