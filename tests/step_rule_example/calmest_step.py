"""The calmest step: the one at which the predictions change least."""

import numpy as np

from ttt_bench.stats.step_rules import NO_STEP, StepRule


class CalmestStep(StepRule):
    """The step of 1..N with the smallest change of predictions, the first one on ties."""

    name = "calmest"
    heading = "calmest"
    detail = "the one at which the predictions change least"
    needs = "the change of predictions per step"

    def choose(self, trajectories):
        change = trajectories.signal("change")
        known = trajectories.adapted & ~np.isnan(change)
        # (..., C, T + 1) -> (..., C)
        best = np.where(known, change, np.inf).argmin(axis=-1)
        return np.where(known.any(axis=-1), best, NO_STEP)


RULE = CalmestStep()
