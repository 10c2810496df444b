"""Delta_TTT as a sum of changes by source training, by normalisation and by updating weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttt_bench.stats.summary import delta_tasks
from ttt_bench.stats.trajectories import changes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A part of Delta_TTT: its name in frames and CSV, its name in print, and its definition."""

    name: str
    heading: str
    about: str


SOURCE = Part(
    "source_training",
    "source training",
    "the method's own untouched source model against Base; 0 without source training of its model",
)
NORMALISATION = Part(
    "normalisation",
    "normalisation",
    "the frozen control (learning rate 0), at the method's step, against the method's untouched "
    "source model",
)
UPDATES = Part(
    "updates",
    "updates",
    "the method against its frozen control at the same step; 0 if the method updates no weights",
)
ADAPTATION = Part(
    "adaptation",
    "normalisation and updates",
    "the method against its untouched source model, for a method without a frozen control",
)
TOTAL = Part("total", "Delta_TTT", "the method against Base, the sum of the other parts")

PARTS = (SOURCE, NORMALISATION, UPDATES, ADAPTATION, TOTAL)


def split(base: Array, stages: Sequence[Array], tasks: tuple[str, ...]) -> Array:
    """Return what each stage changes in percent of Base, and their sum: (..., K + 1, Q).

    The change of a stage is signed so that positive is better, and is relative to Base's score and
    not to the stage before, so that changes add up. The sum is the change of the last stage against
    Base (`trajectories.changes`). It is computed from the last stage and not by adding.

    Args:
        base: Base's scores, (..., n).
        stages: the scores after each of K stages, (..., n) each.
        tasks: the n tasks.

    Returns:
        The changes of the Q quantities, `tasks` and those of `summary.delta_tasks`. NaN where a
        score is missing or Base's score is 0.
    """
    # K + 1 levels, the first one is Base: (..., K + 1, n)
    levels = np.stack([changes(scores, base, tasks) for scores in (base, *stages)], axis=-2)
    return with_means(np.concatenate([np.diff(levels, axis=-2), levels[..., -1:, :]], -2), tasks)


def with_means(changed: Array, tasks: tuple[str, ...]) -> Array:
    """Return the changes of tasks, (..., n), with those of averages over tasks, (..., Q)."""
    columns = [changed]
    for kept in delta_tasks(tasks).values():
        own = [tasks.index(task) for task in kept]
        columns.append(changed[..., own].mean(axis=-1, keepdims=True))
    return np.concatenate(columns, axis=-1)
