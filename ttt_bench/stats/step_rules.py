"""The rules that choose the adaptation step whose scores are shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ttt_bench.stats.trajectories import NO_STEP, Indices, Trajectories

DELTA = "delta_ttt"
"""The quantity Delta_TTT in frames."""


class StepRule(ABC):
    """One rule that chooses a step for each cell.

    It is applied to the observed trajectories, and again to every bootstrap replicate.

    Attributes:
        name: the rule's name in frames and CSV (`selection`).
        heading: the heading of its rows in a table.
        detail: how it chooses the step, in words.
        compares_steps: it compares the scores of steps, so it needs labels, and its choice means
            nothing if all scores are equal. Otherwise the step is the same for all seeds.
        published: the papers' tables use this rule.
    """

    name: ClassVar[str]
    heading: ClassVar[str]
    detail: ClassVar[str]
    compares_steps: ClassVar[bool]
    published: ClassVar[bool]

    @abstractmethod
    def choose(self, trajectories: Trajectories) -> Indices:
        """Return the chosen step of each cell, (..., C), of `Trajectories.adapted`.

        It is `NO_STEP` where the cell lacks what the rule needs.
        """


class Oracle(StepRule):
    """The step of 1..N with the best Delta_TTT of each seed, the first one on ties."""

    name = "oracle"
    heading = "oracle step"
    detail = "the best average Delta_TTT over steps, chosen with labels"
    compares_steps = True
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
    compares_steps = False
    published = False

    def choose(self, trajectories: Trajectories) -> Indices:
        return np.broadcast_to(trajectories.last, trajectories.deltas.shape[:-1])


ORACLE, FIXED = Oracle(), Fixed()

STEP_RULES: tuple[StepRule, ...] = (ORACLE, FIXED)
"""Every rule, in the order of a table's sections."""
