"""The facts of a comparison that its answer states, under the first rule of the main table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from ttt_bench.analysis.evidence import BASE, FROZEN, NORM, Evidence, controls
from ttt_bench.analysis.verdicts import verdicts, yardstick
from ttt_bench.report.frames import named_rows
from ttt_bench.report.notes.run import STATES
from ttt_bench.results.method_names import MethodNames
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA, FIXED, StepRule


@dataclass(frozen=True, kw_only=True)
class Value:
    """A number of a row in percent or points, with its 95 % interval.

    Attributes:
        name: the printed name of the row.
        low, high: the ends of the interval; NaN without one.
        verdict: whether a difference is shown (`analysis.verdicts`); 0 for other numbers.
    """

    name: str
    mean: float
    low: float
    high: float
    verdict: int = 0

    @property
    def has_interval(self) -> bool:
        return not math.isnan(self.low)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the answer to a comparison states.

    Attributes:
        reference: the name of norm, or of Base if norm has no numbers; None without both.
        own: Delta_TTT of norm; None if the reference is Base, or if the rule has no step for norm.
        norm: whether norm has numbers.
        deltas: Delta_TTT of each row that is neither Base nor a frozen control.
        differences: the difference in Delta_TTT of each of these rows to the reference.
        updates: the difference in Delta_TTT of each row to its frozen control.
        seeds: the number of seeds.
        images: the number of images of the target.
        smoke: whether the run has the size of the preset `smoke`.
        step: the step of these numbers, in words.
        missing: the state in words of each row without numbers.
        incomplete: (state in words, number of seeds without numbers) of each row of which some
            seeds have numbers.
    """

    reference: str | None
    own: Value | None = None
    norm: bool = True
    deltas: tuple[Value, ...] = ()
    differences: tuple[Value, ...] = ()
    updates: tuple[Value, ...] = ()
    seeds: int = 0
    images: int = 0
    smoke: bool = False
    step: str = f"the {FIXED.heading}"
    missing: Mapping[str, str] = field(default_factory=dict)
    incomplete: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def facts_of(evidence: Evidence) -> Facts:
    """Return the facts of a comparison."""
    comparison, names = evidence.comparison, evidence.comparison.names
    if comparison.rows.empty:
        return Facts(reference=None, missing=_missing(comparison))
    reference = yardstick(comparison)
    estimates, found = evidence.all_estimates(), evidence.all_differences()
    found = found.assign(verdict=verdicts(found))
    rule = evidence.sections[0]
    estimates, found = _kept(comparison, rule, estimates), _kept(comparison, rule, found)
    against = found[found["reference"] == reference]
    of_norm = _values(estimates[estimates["label"] == NORM], names)
    return Facts(
        reference=None if reference is None else names.of(reference),
        own=of_norm[0] if reference == NORM and of_norm else None,
        norm=NORM in set(comparison.done["label"]),
        deltas=_values(estimates, names),
        differences=_values(against, names),
        updates=_values(found[found["reference"] == FROZEN], names),
        seeds=comparison.rows["seed"].nunique(),
        images=int(comparison.rows["n"].max()),
        smoke=comparison.key.preset == "smoke",
        step=rule.in_words,
        missing=_missing(comparison),
        incomplete=_incomplete(comparison),
    )


def _kept(comparison: Comparison, rule: StepRule, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the Delta_TTT under a rule of the rows that are neither Base nor a control."""
    control = frame["label"].map(controls(comparison))
    adapting = (control == "none") & (frame["label"].map(comparison.methods) != BASE)
    return frame[adapting & (frame["quantity"] == DELTA) & (frame["selection"] == rule.name)]


def _values(frame: pd.DataFrame, names: MethodNames) -> tuple[Value, ...]:
    return tuple(
        Value(
            name=names.of(row.label),
            mean=float(row.mean),
            low=float(row.low),
            high=float(row.high),
            verdict=int(getattr(row, "verdict", 0)),
        )
        for row in named_rows(frame)
    )


def _missing(comparison: Comparison) -> dict[str, str]:
    """Map the name of each row without numbers to its states in words."""
    done = set(comparison.done["label"])
    lost = comparison.missing[~comparison.missing["label"].isin(done)]
    groups = lost.groupby("label", sort=False)
    return {comparison.names.of(str(label)): _states(cells) for label, cells in groups}


def _incomplete(comparison: Comparison) -> dict[str, tuple[str, int]]:
    """Map each row with numbers in some seeds to the states and the number of the others."""
    partly = comparison.missing[comparison.missing["label"].isin(comparison.done["label"])]
    groups = partly.groupby("label", sort=False)
    names = comparison.names
    return {names.of(str(label)): (_states(cells), len(cells)) for label, cells in groups}


def _states(cells: pd.DataFrame) -> str:
    return " / ".join(STATES.get(state, state) for state in cells["state"].unique())
