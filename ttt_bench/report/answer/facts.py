"""The facts of a comparison that its answer states, at the fixed step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from ttt_bench.analysis.evidence import BASE, FROZEN, NORM, Evidence, controls
from ttt_bench.analysis.verdicts import verdicts, yardstick
from ttt_bench.report.frames import named_rows
from ttt_bench.report.notes.run import STATES
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA, FIXED


@dataclass(frozen=True, kw_only=True)
class Value:
    """A number of a row in percent or points, with its 95 % interval.

    Attributes:
        low, high: the ends of the interval; NaN without one.
        verdict: whether a difference is shown (`analysis.verdicts`); 0 for other numbers.
    """

    label: str
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
        reference: `norm`, or `base` if norm has no numbers, or None without both.
        deltas: Delta_TTT of each row that is neither Base nor a frozen control.
        differences: the difference in Delta_TTT of each of these rows to the reference.
        updates: the difference in Delta_TTT of each row to its frozen control.
        seeds: the number of seeds.
        images: the number of images of the target.
        smoke: whether the run has the size of the preset `smoke`.
        missing: the state in words of each row without numbers.
        incomplete: (state in words, number of seeds without numbers) of each row of which some
            seeds have numbers.
    """

    reference: str | None
    deltas: tuple[Value, ...] = ()
    differences: tuple[Value, ...] = ()
    updates: tuple[Value, ...] = ()
    seeds: int = 0
    images: int = 0
    smoke: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)
    incomplete: Mapping[str, tuple[str, int]] = field(default_factory=dict)


def facts_of(evidence: Evidence) -> Facts:
    """Return the facts of a comparison."""
    comparison = evidence.comparison
    if comparison.rows.empty:
        return Facts(reference=None, missing=_missing(comparison))
    reference = yardstick(comparison)
    estimates, found = evidence.all_estimates(), evidence.all_differences()
    found = found.assign(verdict=verdicts(found))
    own, differences = (_kept(comparison, frame) for frame in (estimates, found))
    to = {name: differences[differences["reference"] == name] for name in (BASE, NORM, FROZEN)}
    return Facts(
        reference=reference,
        deltas=_values(own),
        differences=() if reference is None else _values(to[reference]),
        updates=_values(to[FROZEN]),
        seeds=comparison.rows["seed"].nunique(),
        images=int(comparison.rows["n"].max()),
        smoke=comparison.key.preset == "smoke",
        missing=_missing(comparison),
        incomplete=_incomplete(comparison),
    )


def _kept(comparison: Comparison, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the Delta_TTT at the fixed step of the rows that are neither Base nor a control."""
    control = frame["label"].map(controls(comparison))
    adapting = (control == "none") & (frame["label"].map(comparison.methods) != BASE)
    return frame[adapting & (frame["quantity"] == DELTA) & (frame["selection"] == FIXED.name)]


def _values(frame: pd.DataFrame) -> tuple[Value, ...]:
    numbers = ["mean", "low", "high"]
    return tuple(
        Value(
            label=str(row.label),
            **{name: float(getattr(row, name)) for name in numbers},
            verdict=int(getattr(row, "verdict", 0)),
        )
        for row in named_rows(frame)
    )


def _missing(comparison: Comparison) -> dict[str, str]:
    """Map each label without numbers to its states in words."""
    done = set(comparison.done["label"])
    lost = comparison.missing[~comparison.missing["label"].isin(done)]
    return {str(label): _states(cells) for label, cells in lost.groupby("label", sort=False)}


def _incomplete(comparison: Comparison) -> dict[str, tuple[str, int]]:
    """Map each label with numbers in some seeds to the states and the number of the others."""
    partly = comparison.missing[comparison.missing["label"].isin(comparison.done["label"])]
    groups = partly.groupby("label", sort=False)
    return {str(label): (_states(cells), len(cells)) for label, cells in groups}


def _states(cells: pd.DataFrame) -> str:
    return " / ".join(STATES.get(state, state) for state in cells["state"].unique())
