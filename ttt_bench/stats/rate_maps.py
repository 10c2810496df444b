"""Changes of the scores over a grid of learning rates and steps: peaks, parting and plateau."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from ttt_bench.designs.rates import DECIMALS, TOLERANCE
from ttt_bench.stats.step_rules import DELTA

MARGIN = 0.5
"""Loss of Delta_TTT (percent) against the best rate within which a rate is on the plateau."""


class Peak(NamedTuple):
    """The best point of a quantity; a rate of 0 means that updates do not improve it."""

    lr: float
    steps: int
    change: float


class Plateau(NamedTuple):
    """The rates around the best one whose Delta_TTT is at most `MARGIN` below it.

    `open_low` and `open_high` tell whether it reaches the end of the grid, so that it may be wider.
    """

    low: float
    high: float
    open_low: bool
    open_high: bool

    @property
    def decades(self) -> float:
        """Return its width in factors of ten."""
        return math.log10(self.high / self.low)


class Parting(NamedTuple):
    """How far the peaks of the tasks are apart.

    Attributes:
        decades: distance of the smallest and the largest best rate, in factors of ten, over the
            tasks that updates improve; None for fewer than two.
        steps: distance of the fewest and the most best steps over these tasks; None likewise.
        not_improved: the tasks that updates do not improve.
    """

    decades: float | None
    steps: int | None
    not_improved: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RateMap:
    """The changes of a method's scores against Base over learning rates and steps.

    Attributes:
        pair: the pair.
        method: the method.
        chosen: the learning rate of the run's settings.
        rates: learning rates in ascending order; the first one is 0, the frozen control.
        steps: numbers of steps per batch in ascending order, each of a separate run.
        changes: `delta_ttt` and each task -> (R, N) in percent, positive if better than Base, means
            over seeds; NaN if a seed has no score, as after divergence.
    """

    pair: str
    method: str
    chosen: float
    rates: tuple[float, ...]
    steps: tuple[int, ...]
    changes: Mapping[str, np.ndarray]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the tasks."""
        return tuple(name for name in self.changes if name != DELTA)

    def at(self, quantity: str, lr: float, steps: int) -> float:
        """Return the change of a quantity at one point, in percent."""
        return float(self.changes[quantity][self.rates.index(lr), self.steps.index(steps)])

    def peak(self, quantity: str) -> Peak | None:
        """Return the best point; of those at most `TOLERANCE` below it, the smallest rate, and of
        that rate the fewest steps. None if no point has a score.
        """
        values = np.round(self.changes[quantity], DECIMALS)
        if np.isnan(values).all():
            return None
        tied = np.round(np.nanmax(values) - values, DECIMALS) <= TOLERANCE
        row, column = np.argwhere(tied)[0]
        return Peak(self.rates[row], self.steps[column], float(self.changes[quantity][row, column]))

    def parting(self) -> Parting:
        """Return how far the peaks of the tasks are apart."""
        peaks = {task: peak for task in self.tasks if (peak := self.peak(task)) is not None}
        moved = [peak for peak in peaks.values() if peak.lr > 0]
        still = tuple(task for task, peak in peaks.items() if peak.lr == 0)
        if len(moved) < 2:
            return Parting(None, None, still)
        rates, steps = [peak.lr for peak in moved], [peak.steps for peak in moved]
        return Parting(math.log10(max(rates) / min(rates)), max(steps) - min(steps), still)

    def plateau(self) -> Plateau | None:
        """Return the plateau of Delta_TTT at the largest number of steps; None without scores."""
        values = self.changes[DELTA][1:, -1]
        if np.isnan(values).all():
            return None
        best = int(np.nanargmax(values))
        inside = np.nan_to_num(values, nan=-np.inf) >= values[best] - MARGIN
        outside = np.flatnonzero(~inside)
        low = int(max(outside[outside < best], default=-1)) + 1
        high = int(min(outside[outside > best], default=len(values))) - 1
        rates = self.rates[1:]
        return Plateau(rates[low], rates[high], low == 0, high == len(rates) - 1)


def rate_map(points: pd.DataFrame, *, pair: str, method: str, chosen: float) -> RateMap:
    """Return the map of one method on one pair.

    Args:
        points: columns `lr, steps, seed` (lr 0: the frozen control), `delta_ttt` and one per task,
            in percent; NaN for a cell without scores.
        pair: the pair.
        method: the method.
        chosen: the learning rate of the run's settings.
    """
    tasks = [str(name) for name in points if name not in ("lr", "steps", "seed", DELTA)]
    quantities = [DELTA, *tasks]
    groups = points.groupby(["lr", "steps"])
    found = groups[quantities]
    means = found.mean().where(found.count().eq(groups.size(), axis=0))
    # index lr, columns steps: (R, N)
    wide = {name: means[name].unstack("steps") for name in quantities}
    first = wide[DELTA]
    return RateMap(
        pair=pair,
        method=method,
        chosen=chosen,
        rates=tuple(map(float, first.index)),
        steps=tuple(map(int, first.columns)),
        changes={name: frame.to_numpy(dtype=float) for name, frame in wide.items()},
    )
