"""The parts of Delta_TTT of each row of a comparison, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ttt_bench.analysis.evidence import (
    ESTIMATE_COLUMNS,
    Evidence,
    corrected,
    estimated,
    frozen_controls,
)
from ttt_bench.analysis.images import Array, images_of, source_sums
from ttt_bench.analysis.replicates import (
    drawn_scores,
    part_of,
    replicated,
    signals_for,
    with_signals,
)
from ttt_bench.stats.attribution import (
    ADAPTATION,
    NORMALISATION,
    SOURCE,
    TOTAL,
    UPDATES,
    Part,
    split,
)
from ttt_bench.stats.bootstrap import weights
from ttt_bench.stats.step_rules import FIXED

COLUMNS = ("label", "part", "exact", *ESTIMATE_COLUMNS, "p_holm")
"""Columns of `attribution`; `exact`: the part is 0 by definition."""


@dataclass(frozen=True)
class _Level:
    """Scores of S seeds, (S, n), and of R replicates of them, (R, S, n); None without any."""

    values: Array
    replicates: Array | None


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row whose change is split.

    Attributes:
        places: seed -> position of its cell.
        frozen: seed -> position of the cell of its frozen control; None if it has none.
        updates: whether it updates weights.
        trains: whether it has its own source model.
    """

    label: str
    places: Mapping[int, int]
    frozen: Mapping[int, int] | None
    updates: bool
    trains: bool


def attribution(evidence: Evidence, rule: str) -> pd.DataFrame:
    """Return the parts of the change of every row that is neither Base nor a control.

    Returns:
        Columns `COLUMNS`: `part` is the name of a `stats.attribution.Part`, the quantities are
        tasks and averages over tasks in percent of Base, and `p_holm` is corrected over the rows
        for each part and quantity. A part that is 0 by definition has no interval. A row without a
        seed in which all parts can be computed is missing.
    """
    frames = [_frame(evidence, row, rule) for row in _rows(evidence, rule)]
    kept = [frame for frame in frames if len(frame)]
    if not kept:
        return pd.DataFrame(columns=list(COLUMNS))
    found = pd.concat(kept, ignore_index=True)
    return corrected(found, ["part", "quantity"])[list(COLUMNS)]


def _rows(evidence: Evidence, rule: str) -> list[_Row]:
    comparison = evidence.comparison
    frozen = frozen_controls(comparison)
    cells = comparison.done.drop_duplicates("label")
    cells = cells[(cells["control"] == "none") & (cells["method"] != "base")]
    return [
        _Row(
            label=label,
            places=evidence.chosen[rule].rows(label),
            frozen=_positions(evidence, frozen.get(label)),
            updates=manifest.get("optimiser") is not None,
            trains=manifest.get("source_model", "base") != "base",
        )
        for label, manifest in zip(cells["label"], cells["manifest"], strict=True)
    ]


def _positions(evidence: Evidence, label: str | None) -> dict[int, int] | None:
    """Map each seed of a label to the position of its cell; None without cells."""
    return None if label is None else evidence.chosen[FIXED.name].rows(label) or None


def _frame(evidence: Evidence, row: _Row, rule: str) -> pd.DataFrame:
    """Return the estimates of a row's parts."""
    seeds = _seeds(evidence, row)
    if not seeds:
        return pd.DataFrame(columns=list(COLUMNS[:-1]))
    base, parts = _levels(evidence, row, rule, seeds)
    stages = list(parts.values())
    tasks = tuple(map(str, evidence.comparison.scores.columns))
    # (S, K + 1, Q) and (R, S, K + 1, Q)
    values = split(base.values, [level.values for level in stages], tasks)
    drawn = [level.replicates for level in (base, *stages)]
    known = [one for one in drawn if one is not None]
    replicates = split(known[0], known[1:], tasks) if len(known) == len(drawn) else None
    frames = []
    for number, part in enumerate((*parts, TOTAL)):
        again = None if replicates is None else replicates[:, :, number]
        found = estimated(evidence.chosen[rule], seeds, values[:, number], again)
        frames.append(_marked(found, row, part).assign(label=row.label, part=part.name))
    return pd.concat(frames, ignore_index=True)


def _marked(found: pd.DataFrame, row: _Row, part: Part) -> pd.DataFrame:
    """Return a part's estimates with `exact`; without interval if it is 0 by definition."""
    exact = {SOURCE: not row.trains, UPDATES: not row.updates}.get(part, False)
    found = found.assign(exact=exact)
    return found.assign(low=np.nan, high=np.nan, p=np.nan, units=0) if exact else found


def _seeds(evidence: Evidence, row: _Row) -> list[int]:
    """Return the seeds in which every part of a row can be computed."""
    base = _positions(evidence, evidence.comparison.base) or {}
    seeds = [seed for seed in row.places if seed in base]
    if row.updates and row.frozen is not None:
        seeds = [seed for seed in seeds if seed in row.frozen]
    if row.trains:
        seeds = [seed for seed in seeds if (row.label, seed) in evidence.own_sources]
    return sorted(seeds)


def _levels(
    evidence: Evidence, row: _Row, rule: str, seeds: list[int]
) -> tuple[_Level, dict[Part, _Level]]:
    """Return Base, and the scores after each part."""
    bases = _positions(evidence, evidence.comparison.base) or {}
    base = _level(evidence, FIXED.name, [bases[seed] for seed in seeds])
    method = _level(evidence, rule, [row.places[seed] for seed in seeds])
    source = _source(evidence, row, seeds) if row.trains else base
    if not row.updates:
        return base, {SOURCE: source, NORMALISATION: method, UPDATES: method}
    if row.frozen is None:
        return base, {SOURCE: source, ADAPTATION: method}
    frozen = _frozen(evidence, row, rule, seeds)
    return base, {SOURCE: source, NORMALISATION: frozen, UPDATES: method}


def _level(evidence: Evidence, rule: str, places: list[int]) -> _Level:
    """Return the scores of cells at the steps that a rule chooses."""
    found, tasks = evidence.chosen[rule], evidence.comparison.scores.shape[1]
    replicates = found.replicates
    return _Level(
        found.values[places, :tasks],
        None if replicates is None else replicates[:, places, :tasks],
    )


def _source(evidence: Evidence, row: _Row, seeds: list[int]) -> _Level:
    """Return the scores of a row's own source models before adapting."""
    comparison, units = evidence.comparison, evidence.chosen[FIXED.name].units
    tasks = list(comparison.scores.columns)
    own = [evidence.own_sources[row.label, seed] for seed in seeds]
    values = pd.DataFrame(own, columns=tasks, dtype=float).to_numpy()
    if not units:
        return _Level(values, None)
    drawn = weights(units)
    replicates = np.full((len(drawn), *values.shape), np.nan)
    for place, seed in enumerate(seeds):
        folder = Path(comparison.folders[row.label, seed])
        for task, sums in source_sums(folder, comparison, own[place], units).items():
            replicates[:, place, tasks.index(task)] = drawn_scores(drawn, task, sums)
    return _Level(values, replicates)


def _frozen(evidence: Evidence, row: _Row, rule: str, seeds: list[int]) -> _Level:
    """Return the scores of a row's frozen control at the steps that are chosen for the row."""
    frozen = [(row.frozen or {})[seed] for seed in seeds]
    if rule == FIXED.name:  # both have the same last step
        return _level(evidence, rule, frozen)
    places = [row.places[seed] for seed in seeds]
    steps = evidence.chosen[rule].steps[places]
    values = part_of(evidence.observed, frozen).at(steps)
    return _Level(values, _frozen_replicates(evidence, rule, places, frozen))


def _frozen_replicates(
    evidence: Evidence, rule: str, places: list[int], frozen: list[int]
) -> Array | None:
    """Return the replicates of frozen controls at the steps chosen for their methods, (R, S, n).

    Args:
        places: positions of the methods' cells, (S,).
        frozen: positions of the cells of their frozen controls, (S,).
    """
    both = part_of(evidence.observed, [*places, *frozen])
    images = images_of(evidence.comparison, both)
    if not images.units or images.units != evidence.chosen[rule].units:
        return None
    bases = _positions(evidence, evidence.comparison.base) or {}
    places_of_base = [bases[seed] for seed in both.cells.get_level_values("seed")]
    base = _level(evidence, FIXED.name, places_of_base).replicates
    if base is None:
        return None
    drawn = weights(images.units)
    signals = signals_for([evidence.rule(rule)], evidence.comparison, both)
    again = with_signals(replicated(drawn, images.cells, both, base), signals, drawn)
    # the first half are methods, the second half their controls: (R, 2 S)
    steps = np.tile(evidence.rule(rule).choose(again)[:, : len(places)], 2)
    return again.at(steps)[:, len(places) :]
