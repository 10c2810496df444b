"""Tables across comparisons as frames: each value's numbers, their mean, and average ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ttt_bench.analysis.across.groups import Group
from ttt_bench.analysis.across.numbers import Numbers
from ttt_bench.stats.comparison import method_rank
from ttt_bench.stats.ranks import Array, quantile_interval, ranks
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.tasks import TASKS

ALL, RANK = "all", "rank"
"""The value of means over a group's values, and the quantity of ranks."""

COLUMNS = ("value", "label", "quantity", "mean", "sd", "low", "high", "seeds")
"""Columns of a group's frame."""


def across_frame(group: Group, rule: str) -> pd.DataFrame:
    """Return the numbers of a group under a step rule, in long form.

    Returns:
        Columns `COLUMNS`. For each value: the estimates of the tasks and of Delta_TTT, and with the
        quantity `rank` the rank of Delta_TTT among `ranked_labels`. For the value `all`: the mean
        of Delta_TTT over the values and the average rank, for labels that all values have.
    """
    frames = [_estimates(group, rule), _ranks(group, rule), _means(group, rule)]
    return pd.concat([one for one in frames if len(one)], ignore_index=True)[list(COLUMNS)]


def labels_of(group: Group) -> list[str]:
    """Return the labels of any value, in the order of their methods."""
    methods = {label: name for one in group.members for label, name in one.methods.items()}
    return sorted(methods, key=lambda label: method_rank(methods[label]))


def methods_of(group: Group) -> list[str]:
    """Return the labels without frozen controls."""
    unranked = frozenset[str]().union(*(one.unranked for one in group.members))
    return [label for label in labels_of(group) if label not in unranked]


def shared_labels(group: Group, rule: str) -> list[str]:
    """Return the labels with a Delta_TTT in every value."""
    known = [set(one.deltas(rule).index) for one in group.members]
    shared = set.intersection(*known)
    return [label for label in labels_of(group) if label in shared]


def ranked_labels(group: Group, rule: str) -> list[str]:
    """Return the shared labels that are ranked: all but frozen controls, if at least two."""
    shared = shared_labels(group, rule)
    found = [label for label in methods_of(group) if label in shared]
    return found if len(found) > 1 else []


def mean_half_width(halves: Array, *, independent: bool) -> Array:
    """Return the half-width of the interval of a mean over V values, (V, ...) -> (...).

    For independent values it is the root of the sum of squares, divided by V. Otherwise it is the
    mean of the half-widths: the standard error of a mean is at most the mean of the standard
    errors, whatever their correlation.
    """
    if independent:
        return np.asarray(np.sqrt((halves**2).sum(axis=0)) / len(halves))
    return np.asarray(halves.mean(axis=0))


def _estimates(group: Group, rule: str) -> pd.DataFrame:
    shown = [*TASKS, DELTA]
    found = [
        one.estimates[rule].assign(value=value)
        for value, one in zip(group.values, group.members, strict=True)
    ]
    together = pd.concat(found, ignore_index=True)
    return together[together["quantity"].isin(shown)]


def _ranks(group: Group, rule: str) -> pd.DataFrame:
    """Return the rank of each ranked label in each value, and the average rank, with intervals."""
    labels = ranked_labels(group, rule)
    if not labels:
        return pd.DataFrame()
    observed = [ranks(_deltas(one, rule, labels)) for one in group.members]
    drawn = [None if d is None else ranks(d) for d in _drawn(group, rule, labels)]
    frames = [
        _rank_frame(value, labels, *own)
        for value, own in zip(group.values, zip(observed, drawn, strict=True), strict=True)
    ]
    known = [one for one in drawn if one is not None]
    average = np.mean(known, axis=0) if len(known) == len(drawn) else None
    return pd.concat([*frames, _rank_frame(ALL, labels, np.mean(observed, axis=0), average)])


def _rank_frame(
    value: str, labels: Sequence[str], observed: Array, drawn: Array | None
) -> pd.DataFrame:
    missing = np.full_like(observed, np.nan)
    low, high = (missing, missing) if drawn is None else quantile_interval(drawn)
    named = {"value": value, "label": labels, "quantity": RANK, "mean": observed}
    return pd.DataFrame({**named, "sd": np.nan, "low": low, "high": high, "seeds": 0})


def _drawn(group: Group, rule: str, labels: list[str]) -> list[Array | None]:
    return [one.drawn_deltas(rule, labels) for one in group.members]


def _deltas(one: Numbers, rule: str, labels: Sequence[str]) -> Array:
    return one.deltas(rule).loc[list(labels), "mean"].to_numpy(dtype=float)


def _means(group: Group, rule: str) -> pd.DataFrame:
    """Return the mean of Delta_TTT over the values, for labels that all values have."""
    labels = shared_labels(group, rule)
    if not labels:
        return pd.DataFrame()
    found = [one.deltas(rule).loc[labels] for one in group.members]
    # (V, L)
    means = np.stack([one["mean"].to_numpy(dtype=float) for one in found])
    halves = np.stack([(one["high"] - one["low"]).to_numpy(dtype=float) / 2 for one in found])
    half, mean = mean_half_width(halves, independent=group.independent), means.mean(axis=0)
    numbers = {"mean": mean, "sd": np.nan, "low": mean - half, "high": mean + half}
    seeds = np.min([one["seeds"].to_numpy(dtype=int) for one in found], axis=0)
    return pd.DataFrame(
        {"value": ALL, "label": labels, "quantity": DELTA, **numbers, "seeds": seeds}
    )
