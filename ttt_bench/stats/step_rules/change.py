"""The step at which predictions stop changing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttt_bench.stats.step_rules.base import StepRule, first_small
from ttt_bench.stats.trajectories import NO_STEP, Indices, Trajectories


@dataclass(frozen=True)
class ChangeSettles(StepRule):
    """The first step of 1..N whose predictions change by at most a share of step 1's change.

    It is step N if no change is small enough, and step 1 if predictions do not change there.

    Attributes:
        share: if changes shrink by a constant factor per step, the share of the whole change that
            is left after the chosen step is at most this.
    """

    share: float = 0.1

    name = "change"
    heading = "change settles"
    detail = "the first one at which predictions change by at most 10 % of the first step's change"
    needs = "the change of predictions per step"

    def choose(self, trajectories: Trajectories) -> Indices:
        change = trajectories.signal("change")
        chosen = first_small(change, self.share, trajectories)
        return np.where(np.isnan(change[..., 1:]).all(axis=-1), NO_STEP, chosen)


CHANGE_SETTLES = ChangeSettles()
