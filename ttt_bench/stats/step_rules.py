"""The rules that choose the adaptation step whose scores are shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import pandas as pd

DELTA = "delta_ttt"
"""The column of Delta_TTT in a frame of changes against Base."""


class StepRule(ABC):
    """One rule that chooses a step for each label and seed.

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
    def choose(self, scores: pd.DataFrame, deltas: pd.DataFrame) -> pd.DataFrame:
        """Return the chosen steps, columns `label, seed, step`.

        A cell without steps has its scores at step 0 chosen.

        Args:
            scores: index `label, seed, step`, as `summary.score_frame` returns them.
            deltas: Delta_TTT with such an index, as `summary.delta_frame` returns it.
        """


class Oracle(StepRule):
    """The step of 1..N with the best Delta_TTT of each seed, the first one on ties.

    Labels and seeds without a Delta_TTT are missing.
    """

    name = "oracle"
    heading = "oracle step"
    detail = "the best average Delta_TTT over steps, chosen with labels"
    compares_steps = True
    published = True

    def choose(self, scores: pd.DataFrame, deltas: pd.DataFrame) -> pd.DataFrame:
        candidates = deltas.reset_index().join(_last_steps(scores), on=["label", "seed"])
        candidates = candidates.dropna(subset=DELTA)
        adapted = candidates[candidates["step"] >= candidates["last"].clip(upper=1)]
        if len(adapted):
            adapted = adapted.loc[adapted.groupby(["label", "seed"])[DELTA].idxmax()]
        return adapted[["label", "seed", "step"]]


class Fixed(StepRule):
    """The last step, N."""

    name = "fixed"
    heading = "fixed step"
    detail = "the last one"
    compares_steps = False
    published = False

    def choose(self, scores: pd.DataFrame, deltas: pd.DataFrame) -> pd.DataFrame:
        return _last_steps(scores).rename("step").reset_index()


def _last_steps(scores: pd.DataFrame) -> pd.Series:
    """Return the last step, `last`, of every `label, seed`."""
    last = scores.reset_index().groupby(["label", "seed"])["step"].max()
    return last.rename("last")


ORACLE, FIXED = Oracle(), Fixed()

STEP_RULES: tuple[StepRule, ...] = (ORACLE, FIXED)
"""Every rule, in the order of a table's sections."""
