"""The scores of a comparison as arrays, one trajectory per cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ttt_bench.metrics.base import metrics_of
from ttt_bench.metrics.delta import relative_changes

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

NO_STEP = -1
"""The choice of a rule that cannot choose a step."""


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """Scores and changes over steps of C cells; NaN where a cell has no value.

    The leading axes `...` are () for observed values, and (R,) for R bootstrap replicates.

    Attributes:
        cells: `label, seed` of each cell, (C,).
        tasks: the n scored tasks.
        last: the number of steps of each cell, (C,).
        scores: the primary metrics, (..., C, T + 1, n), with T the largest number of steps.
        base: Base's scores of the same seed before adapting, (..., C, n).
        deltas: Delta_TTT in percent, (..., C, T + 1).
        signals: name -> values at each step that need no labels, (..., C, T + 1).
    """

    cells: pd.MultiIndex
    tasks: tuple[str, ...]
    last: Indices
    scores: Array
    base: Array
    deltas: Array
    signals: Mapping[str, Array] = field(default_factory=dict)

    @property
    def adapted(self) -> NDArray[np.bool_]:
        """Return the steps that a rule may choose, (C, T + 1).

        They are steps 1 to N of a cell, and step 0 of a cell without steps.
        """
        steps = np.arange(self.scores.shape[-2])
        last = self.last[:, None]
        return (steps >= np.minimum(last, 1)) & (steps <= last)

    @property
    def steps(self) -> int:
        """Return the number of columns of steps, T + 1."""
        found: int = self.scores.shape[-2]
        return found

    def signal(self, name: str) -> Array:
        """Return a signal, (..., C, T + 1); NaN if no cell has it."""
        return np.broadcast_to(self.signals.get(name, np.nan), self.deltas.shape)

    def at(self, steps: Indices) -> Array:
        """Return the scores at the chosen steps (..., C): (..., C, n), NaN at `NO_STEP`."""
        index = np.maximum(steps, 0)[..., None, None]
        # (..., C, T + 1, n) -> (..., C, n)
        chosen = np.take_along_axis(self.scores, index, axis=-2)[..., 0, :]
        return np.where((steps == NO_STEP)[..., None], np.nan, chosen)


def trajectories(
    scores: pd.DataFrame, base: str | None, signals: Mapping[str, pd.Series] | None = None
) -> Trajectories:
    """Return the trajectories of stored rows.

    Args:
        scores: index `label, seed, step`, one column per task, as `summary.score_frame` returns
            them.
        base: the label of Base; without it, changes are NaN.
        signals: name -> values with such an index.
    """
    cells = _cells(scores).unique()
    steps = int(scores.index.get_level_values("step").max()) + 1 if len(scores) else 1
    shape = (len(cells), steps)
    values = _filled(scores, cells, shape)
    known = pd.DataFrame({"step": scores.index.get_level_values("step")})
    position = cells.get_indexer(_cells(scores))
    last = known["step"].groupby(position).max().to_numpy(dtype=np.intp)
    reference = _base(values, cells, base)
    tasks = tuple(map(str, scores.columns))
    found = {
        name: _filled(series.to_frame(), cells, shape) for name, series in (signals or {}).items()
    }
    return Trajectories(
        cells=cells,
        tasks=tasks,
        last=last,
        scores=values,
        base=reference,
        deltas=mean_change(values, reference[..., None, :], tasks),
        signals={name: values[..., 0] for name, values in found.items()},
    )


def changes(scores: ArrayLike, base: ArrayLike, tasks: tuple[str, ...]) -> Array:
    """Return the signed change against Base in percent, (..., n); positive is better.

    It is NaN where a score of Base is 0 or missing.
    """
    lower = [metrics_of(task).lower_is_better for task in tasks]
    return relative_changes(scores, base, lower)


def mean_change(scores: ArrayLike, base: ArrayLike, tasks: tuple[str, ...]) -> Array:
    """Return Delta_TTT in percent, (...), of scores (..., n) (S4T, section 4.1).

    It is NaN if the change of any task is.
    """
    return np.asarray(changes(scores, base, tasks).mean(axis=-1))


def _cells(frame: pd.DataFrame) -> pd.MultiIndex:
    """Return `label, seed` of each row of a frame with index `label, seed, step`."""
    names = ["label", "seed"]
    return pd.MultiIndex.from_arrays([frame.index.get_level_values(n) for n in names], names=names)


def _filled(frame: pd.DataFrame, cells: pd.MultiIndex, shape: tuple[int, int]) -> Array:
    """Return a frame with index `label, seed, step` as an array (C, T + 1, columns)."""
    values = np.full((*shape, frame.shape[1]), np.nan)
    position = cells.get_indexer(_cells(frame))
    values[position, frame.index.get_level_values("step")] = frame.to_numpy(dtype=np.float64)
    return values


def _base(values: Array, cells: pd.MultiIndex, base: str | None) -> Array:
    """Return Base's scores at step 0 for the seed of each cell, (C, n); NaN without Base."""
    seeds = cells.get_level_values("seed")
    rows = cells.get_indexer(pd.MultiIndex.from_arrays([[base] * len(cells), seeds]))
    # (C, T + 1, n) -> (C, n)
    reference: Array = np.where((rows < 0)[:, None], np.nan, values[rows, 0])
    return reference
