"""The step whose predictions agree most under augmentation."""

from __future__ import annotations

import numpy as np

from ttt_bench.stats.step_rules.base import StepRule
from ttt_bench.stats.trajectories import NO_STEP, Indices, Trajectories


class MostAgreement(StepRule):
    """The step of 1..N whose predictions of images and mirror images agree most, the first one."""

    name = "agreement"
    heading = "most agreement"
    detail = "the one whose predictions of an image and of its mirror image agree most"
    needs = "agreement under augmentation, stored by `run --agreement`"

    def choose(self, trajectories: Trajectories) -> Indices:
        agreement = trajectories.signal("agreement")
        known = trajectories.adapted & ~np.isnan(agreement)
        # (..., C, T + 1) -> (..., C)
        best = np.where(known, agreement, -np.inf).argmax(axis=-1)
        return np.where(known.any(axis=-1), best, NO_STEP)


MOST_AGREEMENT = MostAgreement()
