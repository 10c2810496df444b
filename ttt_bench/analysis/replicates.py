"""Every quantity at the steps that the rules choose, observed and in bootstrap replicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ttt_bench.analysis.images import CellSums, Images, images_of
from ttt_bench.analysis.signals import CellSignals, mean_signals, signals_of
from ttt_bench.metrics.base import metrics_of
from ttt_bench.stats.bootstrap import weights
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.cross_fitting import held_out_sums, partitions, training_weights
from ttt_bench.stats.step_rules import DELTA, SECTIONS, StepRule, chosen_steps
from ttt_bench.stats.summary import delta_tasks
from ttt_bench.stats.trajectories import NO_STEP, Indices, Trajectories, mean_change, trajectories

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
        held_out: Delta_TTT if the step of each image is chosen on other images, (P, C) for P
            partitions of the images (`stats.cross_fitting`); None for rules without labels, and
            without statistics.
    """

    cells: pd.MultiIndex
    quantities: tuple[str, ...]
    steps: Indices
    values: Array
    replicates: Array | None
    units: int
    held_out: Array | None = None

    @property
    def deltas(self) -> Array:
        """Return the observed Delta_TTT, (C,)."""
        return self.values[:, self.quantities.index(DELTA)]

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
    signals = signals_for(rules, comparison, observed)
    images = images_of(comparison, observed)
    return chosen_of(observed, images, comparison.base, rules, signals)


def signals_for(
    rules: Sequence[StepRule], comparison: Comparison, observed: Trajectories
) -> Sequence[CellSignals]:
    """Return the signals of each cell; empty ones if only the main table's rules are used."""
    known = {rule.name for rule in SECTIONS}
    if known.issuperset(rule.name for rule in rules):
        return [{}] * len(observed.cells)
    return signals_of(comparison, observed)


def chosen_of(
    observed: Trajectories,
    images: Images,
    base: str | None,
    rules: Sequence[StepRule],
    signals: Sequence[CellSignals] = (),
) -> dict[str, Chosen]:
    """Return the quantities of trajectories under each rule, by the rule's name.

    Each rule chooses again in every replicate. Replicates of all cells have the same draws.

    Args:
        base: the label of Base; None if it was not run.
        signals: the signals of each cell, (C,); empty without any.
    """
    observed = with_signals(observed, signals)
    found = {rule.name: _observed(observed, rule, images.units) for rule in rules}
    if not images.units:
        return found
    used = [rule for rule in rules if (found[rule.name].steps != NO_STEP).any()]
    replicates = _replicates(observed, images, base, used, signals)
    held_out = {
        rule.name: _held_out(images, observed, base, rule)
        for rule in used
        if rule.uses_labels and images.units > 1
    }
    return {
        name: replace(one, replicates=replicates.get(name), held_out=held_out.get(name))
        for name, one in found.items()
    }


def with_signals(
    found: Trajectories, signals: Sequence[CellSignals], drawn: Array | None = None
) -> Trajectories:
    """Return trajectories with their signals, in replicates with those of the drawn batches.

    Args:
        signals: the signals of each cell, (C,).
        drawn: how often each unit is drawn in each replicate, (R, U); None for observed values.
    """
    return replace(found, signals=mean_signals(signals, found.steps, drawn))


def _replicates(
    observed: Trajectories,
    images: Images,
    base: str | None,
    rules: Sequence[StepRule],
    signals: Sequence[CellSignals],
) -> dict[str, Array]:
    """Return the quantities under each rule in the replicates, (R, C, Q), by the rule's name."""
    drawn = weights(images.units)
    found: dict[str, list[Array]] = {rule.name: [] for rule in rules}
    for part, cells in replicated_parts(drawn, images, observed, base):
        again = with_signals(cells, signals[part], drawn)
        for rule in rules:
            found[rule.name].append(quantities(again, chosen_steps(rule, again)))
    return {name: np.concatenate(parts, axis=1) for name, parts in found.items()}


def replicated_parts(
    drawn: Array, images: Images, observed: Trajectories, base: str | None
) -> Iterator[tuple[slice, Trajectories]]:
    """Yield the replicates of `CHUNK` cells after the other, with their positions.

    Args:
        drawn: how often each unit is drawn in each replicate, (R, U).
        base: the label of Base; None if it was not run.
    """
    of_base = _base_replicates(drawn, images, observed, base)
    for part in _parts(observed):
        own = part_of(observed, part)
        yield part, replicated(drawn, images.cells[part], own, of_base[:, part])


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


def _held_out(images: Images, observed: Trajectories, base: str | None, rule: StepRule) -> Array:
    """Return Delta_TTT if the step of each image is chosen on other images, (P, C)."""
    folds = partitions(images.units)
    training = training_weights(folds)
    # (P, K, U) -> (P K, U)
    drawn = training.reshape(-1, images.units)
    base_scores = _base_replicates(drawn, images, observed, base)
    found = []
    for part in _parts(observed):
        cells, own = images.cells[part], part_of(observed, part)
        again = replicated(drawn, cells, own, base_scores[:, part])
        # (P K, C) -> (P, K, C)
        steps = chosen_steps(rule, again).reshape(*training.shape[:2], len(cells))
        scores = np.stack(
            [
                _held_out_scores(sums, observed.tasks, steps[..., cell], folds)
                for cell, sums in enumerate(cells)
            ],
            axis=1,
        )
        found.append(mean_change(scores, own.base, observed.tasks))
    return np.concatenate(found, axis=1)


def _held_out_scores(
    sums: CellSums | None, tasks: Sequence[str], steps: Indices, folds: Indices
) -> Array:
    """Return a cell's scores, (P, n), with each unit at the step of its fold, (P, K)."""
    scores = np.full((len(folds), len(tasks)), np.nan)
    if sums is None or (steps < 0).any():
        return scores
    for number, task in enumerate(tasks):
        if task in sums:
            totals = held_out_sums(sums[task], steps, folds)
            scores[:, number] = metrics_of(task).score_of_sums(totals)
    return scores


def _parts(observed: Trajectories) -> Iterator[slice]:
    """Yield slices of the cells, of `CHUNK` cells each."""
    for start in range(0, len(observed.cells), CHUNK):
        yield slice(start, start + CHUNK)


def _names(cells: pd.MultiIndex) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """Return the label and the seed of each cell, (C,) each."""
    return cells.get_level_values("label").to_numpy(), cells.get_level_values("seed").to_numpy()


def _observed(observed: Trajectories, rule: StepRule, units: int) -> Chosen:
    steps = chosen_steps(rule, observed)
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
