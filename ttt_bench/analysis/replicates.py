"""Every quantity at the steps that the rules choose, observed and in bootstrap replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ttt_bench.analysis.images import CellSums, Images, images_of
from ttt_bench.metrics.base import metrics_of
from ttt_bench.stats.bootstrap import weights
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import StepRule
from ttt_bench.stats.summary import delta_tasks
from ttt_bench.stats.trajectories import Indices, Trajectories, mean_change, trajectories

Array = NDArray[np.float64]

CHUNK = 16
"""Cells whose replicates are in memory at all steps at the same time."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The quantities of C cells at the steps that one rule chooses.

    Attributes:
        cells: `label, seed` of each cell, (C,).
        quantities: the Q tasks and averages over tasks.
        steps: the chosen steps, (C,).
        values: (C, Q).
        replicates: (R, C, Q), NaN for a cell without statistics; None without any.
        units: the number of images or batches that a replicate draws; 0 without statistics.
    """

    cells: pd.MultiIndex
    quantities: tuple[str, ...]
    steps: Indices
    values: Array
    replicates: Array | None
    units: int

    def rows(self, label: str) -> dict[int, int]:
        """Map each seed of a label whose step was chosen to the position of its cell."""
        return self._rows.get(label, {})

    @cached_property
    def _rows(self) -> dict[str, dict[int, int]]:
        found: dict[str, dict[int, int]] = {}
        for place, (label, seed) in enumerate(self.cells):
            if self.steps[place] >= 0:
                found.setdefault(label, {})[int(seed)] = place
        return found


def chosen(comparison: Comparison, rules: Sequence[StepRule]) -> dict[str, Chosen]:
    """Return the quantities of a comparison under each rule, by the rule's name."""
    observed = trajectories(comparison.scores, comparison.base)
    return chosen_of(observed, images_of(comparison, observed), comparison.base, rules)


def chosen_of(
    observed: Trajectories, images: Images, base: str | None, rules: Sequence[StepRule]
) -> dict[str, Chosen]:
    """Return the quantities of trajectories under each rule, by the rule's name.

    Each rule chooses again in every replicate. Replicates of all cells have the same draws.

    Args:
        base: the label of Base; None if it was not run.
    """
    found = {rule.name: _observed(observed, rule, images.units) for rule in rules}
    if not images.units:
        return found
    drawn = weights(images.units)
    of_base = _base_replicates(drawn, images, observed, base)
    names = next(iter(found.values())).quantities
    shape = (len(drawn), len(observed.cells), len(names))
    replicates = {rule.name: np.full(shape, np.nan) for rule in rules}
    for start in range(0, len(observed.cells), CHUNK):
        part = slice(start, start + CHUNK)
        again = replicated(drawn, images.cells[part], part_of(observed, part), of_base[:, part])
        for rule in rules:
            replicates[rule.name][:, part] = quantities(again, rule.choose(again))
    return {name: replace(one, replicates=replicates[name]) for name, one in found.items()}


def replicated(
    drawn: Array, cells: Sequence[CellSums | None], observed: Trajectories, base: Array
) -> Trajectories:
    """Return the trajectories of C cells in R replicates.

    Args:
        drawn: how often each unit is drawn in each replicate, (R, U).
        cells: the sums of each cell.
        observed: the trajectories of the same cells.
        base: Base's scores in the replicates, (R, C, n).
    """
    scores = np.full((len(drawn), *observed.scores.shape), np.nan)
    for number, task in enumerate(observed.tasks):
        for cell, sums in enumerate(cells):
            if sums and task in sums:
                values = drawn_scores(drawn, task, sums[task])
                scores[:, cell, : values.shape[1], number] = values
    deltas = mean_change(scores, base[..., None, :], observed.tasks)
    return replace(observed, scores=scores, base=base, deltas=deltas)


def drawn_scores(drawn: Array, task: str, sums: Array) -> Array:
    """Return the scores of R replicates, (R, ...), from the sums of each unit, (U, ..., D)."""
    units, *shape = sums.shape
    totals = drawn @ sums.reshape(units, -1)
    return metrics_of(task).score_of_sums(totals.reshape(len(drawn), *shape))


def quantities(found: Trajectories, steps: Indices) -> Array:
    """Return the tasks' scores and the averages over tasks at the chosen steps, (..., C, Q)."""
    scores = found.at(steps)
    columns = [scores]
    for kept in delta_tasks(found.tasks).values():
        own = [found.tasks.index(task) for task in kept]
        columns.append(mean_change(scores[..., own], found.base[..., own], kept)[..., None])
    return np.concatenate(columns, axis=-1)


def _names(cells: pd.MultiIndex) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the label and the seed of each cell, (C,) each."""
    return cells.get_level_values("label").to_numpy(), cells.get_level_values("seed").to_numpy()


def _observed(observed: Trajectories, rule: StepRule, units: int) -> Chosen:
    steps = rule.choose(observed)
    return Chosen(
        cells=observed.cells,
        quantities=(*observed.tasks, *delta_tasks(observed.tasks)),
        steps=steps,
        values=quantities(observed, steps),
        replicates=None,
        units=units,
    )


def part_of(observed: Trajectories, part: slice | list[int]) -> Trajectories:
    """Return the trajectories of some of the cells."""
    return replace(
        observed,
        cells=observed.cells[part],
        last=observed.last[part],
        scores=observed.scores[part],
        base=observed.base[part],
        deltas=observed.deltas[part],
        signals={name: values[part] for name, values in observed.signals.items()},
    )


def _base_replicates(
    drawn: Array, images: Images, observed: Trajectories, base: str | None
) -> Array:
    """Return the replicates of Base's scores for the seed of each cell, (R, C, n)."""
    labels, seeds = _names(observed.cells)
    found = np.full((len(drawn), *observed.base.shape), np.nan)
    for place in np.flatnonzero(labels == base):
        for number, task in enumerate(observed.tasks):
            sums = (images.cells[place] or {}).get(task)
            if sums is not None:
                scores = drawn_scores(drawn, task, sums[:, :1])
                found[:, seeds == seeds[place], number] = scores
    return found
