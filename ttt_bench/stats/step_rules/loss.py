"""The step at which the auxiliary loss flattens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttt_bench.stats.step_rules.base import StepRule, first_small
from ttt_bench.stats.trajectories import NO_STEP, Indices, Trajectories


@dataclass(frozen=True)
class LossFlattens(StepRule):
    """The first step t of 1..N whose update lowers the loss by at most a share of the first one.

    The loss is the sum of the method's terms, l(t) with the weights after t updates, known for t up
    to N - 1. The rule compares declines: l(t - 1) - l(t) <= share (l(0) - l(1)). So it chooses step
    1 if the first update does not lower the loss, and step N if no decline is small enough.

    Attributes:
        share: if declines shrink by a constant factor per step, the share of the whole decline that
            is left after the chosen step is at most this.
    """

    share: float = 0.1

    name = "loss"
    heading = "loss flattens"
    detail = "the first one whose update lowers the auxiliary loss by at most 10 % of the first one"
    needs = "an auxiliary loss"

    def choose(self, trajectories: Trajectories) -> Indices:
        loss = trajectories.signal("loss")
        before = np.roll(loss, 1, axis=-1)
        chosen = first_small(before - loss, self.share, trajectories)
        return np.where(np.isnan(loss).all(axis=-1), NO_STEP, chosen)


LOSS_FLATTENS = LossFlattens()
