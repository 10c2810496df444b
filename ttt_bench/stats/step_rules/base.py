"""The interface of step rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ttt_bench.errors import BenchError
from ttt_bench.stats.trajectories import NO_STEP, Array, Indices, Trajectories
from ttt_bench.util.code.error_place import describe

DELTA = "delta_ttt"
"""The quantity Delta_TTT in frames."""


class StepRule(ABC):
    """One rule that chooses a step for each cell.

    It is applied to the observed trajectories, and again to every bootstrap replicate. One step is
    chosen for all images of a cell.

    Attributes:
        name: the rule's name in frames and CSV (`selection`), and that of its entry point.
        heading: the heading of its rows or column in a table.
        detail: how it chooses the step, in words.
        needs: the stored signal that it needs, in words; empty if every cell has a step.
        uses_labels: it compares the scores of steps, which takes labels, so its choice means
            nothing if all scores are equal.
        published: the papers' tables use this rule.
    """

    name: ClassVar[str]
    heading: ClassVar[str]
    detail: ClassVar[str]
    needs: ClassVar[str] = ""
    uses_labels: ClassVar[bool] = False
    published: ClassVar[bool] = False

    @property
    def in_words(self) -> str:
        """Return the step of the rule for a sentence, such as "the fixed step"."""
        heading = self.heading
        return f"the {heading}" if heading.endswith("step") else f"the step of the rule {heading}"

    @abstractmethod
    def choose(self, trajectories: Trajectories) -> Indices:
        """Return the chosen step of each cell, (..., C), of `Trajectories.adapted`.

        It is `NO_STEP` where the cell lacks what the rule needs. The leading axes are those of
        `trajectories.deltas`, (..., C, T + 1).
        """


def chosen_steps(rule: StepRule, trajectories: Trajectories) -> Indices:
    """Return the steps that a rule chooses, (..., C), after a check that cells have these steps.

    Raises:
        BenchError: the rule fails, or its choice is not one of the cells' steps.
    """
    try:
        steps = np.asarray(rule.choose(trajectories))
    except Exception as error:  # a plugin may raise anything
        raise BenchError(f"step rule {rule.name!r} fails: {describe(error, type(rule))}") from error
    expected = trajectories.deltas.shape[:-1]
    if steps.shape != expected or not np.issubdtype(steps.dtype, np.integer):
        raise BenchError(
            f"step rule {rule.name!r} returns {steps.dtype} of shape {steps.shape}; "
            f"return integers of shape {expected}, one step per cell"
        )
    last = trajectories.last
    wrong = (steps != NO_STEP) & ((steps < np.minimum(last, 1)) | (steps > last))
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        label, seed = trajectories.cells[place[-1]]
        raise BenchError(
            f"step rule {rule.name!r} chooses step {steps[place]} of {label}, seed {seed}; "
            f"choose one of `trajectories.adapted`, or NO_STEP ({NO_STEP})"
        )
    return steps


def first_small(values: Array, share: float, trajectories: Trajectories) -> Indices:
    """Return the first step of each cell with a value of at most a share of step 1's, (..., C).

    It is the last step without such a value.

    Args:
        values: (..., C, T + 1), NaN at steps without a value.
        share: between 0 and 1.
    """
    # (..., C, T + 1) -> (..., C, 1): the value of step 1, if any cell has steps
    first = values[..., :2][..., -1:]
    small = trajectories.adapted & (values <= share * first)
    # (..., C, T + 1) -> (..., C)
    return np.where(small.any(axis=-1), small.argmax(axis=-1), trajectories.last)
