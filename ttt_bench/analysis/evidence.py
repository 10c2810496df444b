"""Estimates with intervals for the rows of one comparison, and for differences between rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ttt_bench.analysis.replicates import Chosen, chosen
from ttt_bench.stats.bootstrap import Estimate, estimate, holm
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import SECTIONS, StepRule, all_rules
from ttt_bench.stats.summary import OWN_GAIN, STEP
from ttt_bench.stats.trajectories import Trajectories, mean_change, trajectories

ESTIMATE_COLUMNS = ("quantity", "mean", "sd", "low", "high", "p", "seeds", "units", "values")
"""Columns of an estimate: `stats.bootstrap.Estimate` per quantity, and `values`, seed -> value."""

BASE, NORM, FROZEN = "base", "norm", "frozen"
REFERENCES = (BASE, NORM, FROZEN)
"""What each row is compared with: Base, `norm`, and the method's own frozen control."""


class Side(NamedTuple):
    """A row of a comparison under one step rule."""

    chosen: Chosen
    label: str


@dataclass(frozen=True)
class Evidence:
    """The estimates of one comparison, each computed when it is first used.

    Attributes:
        rules: the step rules, by default all that can be used.
        sections: the step rules of the main table.
    """

    comparison: Comparison
    rules: Sequence[StepRule] = field(default_factory=lambda: all_rules().rules)
    sections: Sequence[StepRule] = SECTIONS

    @cached_property
    def chosen(self) -> dict[str, Chosen]:
        """Map the name of each rule to the quantities at its steps."""
        return chosen(self.comparison, self.rules)

    @cached_property
    def observed(self) -> Trajectories:
        """Return the trajectories of the cells, in the order of `Chosen.cells`."""
        return trajectories(self.comparison.scores, self.comparison.base)

    def rule(self, name: str) -> StepRule:
        """Return a rule by its name."""
        return next(rule for rule in self.rules if rule.name == name)

    def side(self, label: str, rule: str) -> Side:
        """Return a row under a rule."""
        return Side(self.chosen[rule], label)

    @cached_property
    def own_sources(self) -> dict[tuple[str, int], dict[str, float]]:
        """Map label and seed to the scores of the method's own source model, if it has one.

        They are those before adapting, on the target.
        """
        done = self.comparison.done
        cells = zip(done["label"], done["seed"], done["manifest"], strict=True)
        scores = {(label, seed): m.get("own_source_scores") for label, seed, m in cells}
        return {cell: dict(own) for cell, own in scores.items() if own}

    def estimates(self, rule: str) -> pd.DataFrame:
        """Return the mean over seeds of every row and quantity.

        The quantities are the tasks, `delta_ttt`, `delta_ttt_no_edge`, and without an interval
        `own_gain` (the same measure against the method's own source model) and `step`.

        Returns:
            Columns `label` and `ESTIMATE_COLUMNS`.
        """
        found = [
            frame.assign(label=label)
            for label in self.comparison.labels
            for frame in (own(self.side(label, rule)), self._further(label, rule))
            if len(frame)
        ]
        names = ["label", *ESTIMATE_COLUMNS]
        return pd.concat(found, ignore_index=True)[names] if found else pd.DataFrame(columns=names)

    def _further(self, label: str, rule: str) -> pd.DataFrame:
        """Return the gain over the own source model, and the step, of a row."""
        found = self.chosen[rule]
        gains, steps = {}, {}
        for seed, place in found.rows(label).items():
            steps[seed] = float(found.steps[place])
            source = self.own_sources.get((label, seed), {})
            if tasks := tuple(task for task in found.quantities if task in source):
                scores = found.values[place, [found.quantities.index(task) for task in tasks]]
                gains[seed] = float(mean_change(scores, [source[task] for task in tasks], tasks))
        rows = {OWN_GAIN: gains, STEP: steps}
        return pd.DataFrame([_plain(name, values) for name, values in rows.items() if values])

    def all_estimates(self) -> pd.DataFrame:
        """Return the estimates under the main table's rules, with their names in `selection`."""
        return self._all_estimates

    def all_differences(self) -> pd.DataFrame:
        """Return the differences under the main table's rules, named in `selection`."""
        return self._all_differences

    @cached_property
    def _all_estimates(self) -> pd.DataFrame:
        return self._all(self.estimates)

    @cached_property
    def _all_differences(self) -> pd.DataFrame:
        return self._all(self.differences)

    def _all(self, build: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
        frames = [build(rule.name).assign(selection=rule.name) for rule in self.sections]
        kept = [frame for frame in frames if len(frame)]
        return pd.concat(kept, ignore_index=True) if kept else frames[0]

    def differences(self, rule: str) -> pd.DataFrame:
        """Return the paired difference of every row to Base, to `norm` and to its frozen control.

        `p_holm` is corrected over the rows with the same control, for each reference and quantity.
        Under a rule that reads a signal there are no differences to frozen controls: the rule would
        choose another step for the control, and the difference would be one of steps.

        Returns:
            Columns `label, reference, reference_label`, `ESTIMATE_COLUMNS` and `p_holm`. Rows with
            themselves, and rows without a common seed, are missing.
        """
        pairs = references(self.comparison)
        if self.rule(rule).needs:
            pairs = [pair for pair in pairs if pair[1] != FROZEN]
        frames = [
            difference(self.side(label, rule), self.side(other, rule)).assign(
                label=label, reference=reference, reference_label=other
            )
            for label, reference, other in pairs
        ]
        names = ["label", "reference", "reference_label", *ESTIMATE_COLUMNS]
        kept = [frame for frame in frames if len(frame)]
        found = pd.concat(kept, ignore_index=True)[names] if kept else pd.DataFrame(columns=names)
        control = found["label"].map(controls(self.comparison))
        return corrected(found, [control, "reference", "quantity"])


def own(side: Side) -> pd.DataFrame:
    """Return the mean over seeds of a row's quantities, with `ESTIMATE_COLUMNS`."""
    rows = side.chosen.rows(side.label)
    places = list(rows.values())
    replicates = side.chosen.replicates
    drawn = None if replicates is None else replicates[:, places]
    return estimated(side.chosen, list(rows), side.chosen.values[places], drawn)


def difference(first: Side, second: Side) -> pd.DataFrame:
    """Return the paired difference of two rows, first - second, with `ESTIMATE_COLUMNS`.

    Seeds that only one of them has are left out. Both may be of different comparisons with the same
    quantities. If they have different units, the intervals come from seeds alone.
    """
    ours, theirs = first.chosen.rows(first.label), second.chosen.rows(second.label)
    seeds = common_seeds(first, second)
    a, b = [ours[seed] for seed in seeds], [theirs[seed] for seed in seeds]
    values = first.chosen.values[a] - second.chosen.values[b]
    return estimated(first.chosen, seeds, values, _paired(first.chosen, a, second.chosen, b))


def common_seeds(first: Side, second: Side) -> list[int]:
    """Return the seeds of which both rows have a chosen step."""
    ours, theirs = first.chosen.rows(first.label), second.chosen.rows(second.label)
    return sorted(ours.keys() & theirs.keys())


def corrected(found: pd.DataFrame, by: list[Any]) -> pd.DataFrame:
    """Return estimates with `p_holm`, the p values corrected within each group."""
    adjusted = found.groupby(by, sort=False)["p"].transform(lambda p: holm(p.to_numpy(float)))
    return found.assign(p_holm=adjusted.astype(float))


def references(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Return (label, reference, label of the reference) of every pair of rows that is compared."""
    named = {BASE: comparison.base, NORM: NORM if NORM in comparison.labels else None}
    controls_of = frozen_controls(comparison)
    pairs = []
    for label in comparison.labels:
        for reference in REFERENCES:
            other = controls_of.get(label) if reference == FROZEN else named[reference]
            if other is not None and other != label:
                pairs.append((label, reference, other))
    return pairs


def frozen_controls(comparison: Comparison) -> dict[str, str]:
    """Map each label to that of the same method, settings and steps with learning rate 0."""
    cells = comparison.cells.drop_duplicates("label")
    frozen = cells[cells["control"] == FROZEN]
    same = ["method", "own", "steps"]
    pairs = cells[cells["control"] == "none"].merge(frozen, on=same, suffixes=("", "_frozen"))
    return dict(zip(pairs["label"], pairs["label_frozen"], strict=True))


def controls(comparison: Comparison) -> dict[str, str]:
    """Map each label to its control."""
    return dict(zip(comparison.cells["label"], comparison.cells["control"], strict=True))


def _paired(first: Chosen, a: list[int], second: Chosen, b: list[int]) -> np.ndarray | None:
    """Return the replicates of a difference, (R, S, Q); None without common units."""
    if first.replicates is None or second.replicates is None or first.units != second.units:
        return None
    return np.asarray(first.replicates[:, a] - second.replicates[:, b])


def estimated(
    found: Chosen, seeds: Iterable[int], values: np.ndarray, replicates: np.ndarray | None
) -> pd.DataFrame:
    """Return the estimates of values (S, Q); quantities without a value are missing."""
    known, number = ~np.isnan(values), np.array(list(seeds))
    frames = []
    # quantities that the same seeds have share their arithmetic
    for pattern in np.unique(known.T, axis=0):
        columns = np.flatnonzero((pattern == known.T).all(axis=1))
        if pattern.any():
            drawn = None if replicates is None else replicates[:, pattern][..., columns]
            result = estimate(values[pattern][:, columns], drawn, found.units)
            names = [found.quantities[column] for column in columns]
            per_seed = values[pattern][:, columns].T.tolist()
            frames.append(estimate_frame(result, names, number[pattern].tolist(), per_seed))
    if not frames:
        return pd.DataFrame(columns=list(ESTIMATE_COLUMNS))
    frame = pd.concat(frames).sort_values("quantity", key=lambda q: q.map(found.quantities.index))
    return frame.reset_index(drop=True)


def estimate_frame(
    result: Estimate, names: list[str], seeds: list[int], per_seed: list[list[float]]
) -> pd.DataFrame:
    """Return estimates of quantities as rows with `ESTIMATE_COLUMNS`.

    Args:
        result: the estimates, (Q,).
        names: the Q quantities.
        seeds: the seeds S.
        per_seed: the values of each quantity for each seed, (Q, S).
    """
    numbers = {name: getattr(result, name) for name in ("mean", "sd", "low", "high", "p", "units")}
    values = [dict(zip(seeds, own, strict=True)) for own in per_seed]
    frame = pd.DataFrame({"quantity": names, **numbers, "values": values})
    return frame.assign(seeds=len(seeds))[list(ESTIMATE_COLUMNS)]


def _plain(quantity: str, values: Mapping[int, float]) -> dict[str, Any]:
    """Return mean and standard deviation over seeds of a quantity, without an interval."""
    found = pd.Series(values)
    missing = dict.fromkeys(("low", "high", "p"), np.nan)
    numbers = {"mean": found.mean(), "sd": found.std(), **missing}
    return {"quantity": quantity, **numbers, "seeds": len(found), "units": 0, "values": values}
