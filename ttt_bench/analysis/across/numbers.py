"""The numbers of one comparison that are compared with other comparisons or published ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ttt_bench.analysis.evidence import FROZEN, Evidence, Side
from ttt_bench.stats.bootstrap import REPLICATES
from ttt_bench.stats.comparison import Comparison, Key
from ttt_bench.stats.ranks import Array, drawn_means
from ttt_bench.stats.step_rules import DELTA, SECTIONS

Shown = Callable[[str], bool]
"""Whether the rows of a method are shown."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The estimates of one comparison, without its stored rows and replicates.

    Attributes:
        key: the choices that its cells share.
        others: whether other comparisons have the same choices, with other data or models.
        tasks: the scored tasks, in canonical order.
        methods: label -> method of its rows with numbers, in table order.
        unranked: the frozen controls among them.
        estimates: rule -> estimates (`Evidence.estimates`) of these rows.
        draws: rule -> label -> R draws of Delta_TTT (`stats.ranks.drawn_means`).
        manifest: the manifest of one of its cells.
    """

    key: Key
    others: bool
    tasks: tuple[str, ...]
    methods: Mapping[str, str]
    unranked: frozenset[str]
    estimates: Mapping[str, pd.DataFrame]
    draws: Mapping[str, Mapping[str, Array]]
    manifest: Mapping[str, Any]

    def deltas(self, rule: str) -> pd.DataFrame:
        """Return the estimates of Delta_TTT, with `label` as index."""
        found = self.estimates[rule]
        return found[found["quantity"] == DELTA].set_index("label")

    def drawn_deltas(self, rule: str, labels: Sequence[str]) -> Array | None:
        """Return draws of Delta_TTT of several labels, (R, L); None if a label has none."""
        draws = self.draws[rule]
        if any(label not in draws for label in labels):
            return None
        return np.stack([draws[label] for label in labels], axis=-1)


def numbers_of(
    evidence: Evidence, rules: tuple[str, ...] = (), shown: Shown = bool
) -> Numbers | None:
    """Return the numbers of a comparison; None if it has none.

    Args:
        rules: names of step rules; those of the main table by default.
        shown: chooses methods; all by default.
    """
    comparison = evidence.comparison
    if comparison.rows.empty:
        return None
    rules = rules or tuple(rule.name for rule in SECTIONS)
    labels = _labels(comparison, shown)
    found = {rule: _estimates(evidence, rule, labels) for rule in rules}
    return Numbers(
        key=comparison.key,
        others=bool(comparison.others),
        tasks=comparison.tasks,
        methods={label: comparison.methods[label] for label in labels},
        unranked=_frozen(comparison),
        estimates=found,
        draws={rule: draws_of(evidence, rule, labels) for rule in rules},
        manifest=comparison.done["manifest"].iloc[-1],
    )


def draws_of(evidence: Evidence, rule: str, labels: tuple[str, ...]) -> dict[str, Array]:
    """Return draws of Delta_TTT of each row, (R,), where images or seeds determine them."""
    base, pair = evidence.comparison.base, evidence.comparison.key.pair
    found = {label: _draws(evidence.side(label, rule), pair, base) for label in labels}
    return {label: drawn for label, drawn in found.items() if drawn is not None}


def _draws(side: Side, pair: str, base: str | None) -> Array | None:
    found = side.chosen
    rows = found.rows(side.label)
    if DELTA not in found.quantities or not rows:
        return None
    places, quantity = list(rows.values()), found.quantities.index(DELTA)
    if side.label == base:
        return np.zeros(REPLICATES)
    values = dict(zip(rows, found.values[places, quantity].tolist(), strict=True))
    if np.isnan(list(values.values())).any():
        return None
    replicates = None if found.replicates is None else found.replicates[:, places, quantity]
    return drawn_means(values, replicates, found.units, pair)


def _labels(comparison: Comparison, shown: Shown) -> tuple[str, ...]:
    done = set(comparison.done["label"])
    methods = comparison.methods
    return tuple(one for one in comparison.labels if one in done and shown(methods[one]))


def _estimates(evidence: Evidence, rule: str, labels: tuple[str, ...]) -> pd.DataFrame:
    found = evidence.estimates(rule)
    found = found[found["label"].isin(list(labels))].reset_index(drop=True)
    # the change of Base against itself is 0 by definition
    own = (found["label"] == evidence.comparison.base) & (found["quantity"] == DELTA)
    found.loc[own, ["mean", "sd", "low", "high"]] = 0.0
    return found


def _frozen(comparison: Comparison) -> frozenset[str]:
    cells = comparison.cells
    return frozenset(cells.loc[cells["control"] == FROZEN, "label"])
