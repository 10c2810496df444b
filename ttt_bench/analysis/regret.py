"""What a step rule loses against the oracle, and how far the oracle's own Delta_TTT is too good."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ttt_bench.analysis.evidence import ESTIMATE_COLUMNS, Evidence, estimate_frame
from ttt_bench.analysis.replicates import Chosen
from ttt_bench.stats.bootstrap import estimate
from ttt_bench.stats.step_rules import DELTA, ORACLE, Indices, StepRule

Array = NDArray[np.float64]

HELD_OUT = "oracle_held_out"
"""The oracle that chooses the step of each image on other images, in `selection`."""


def adapting(evidence: Evidence) -> list[str]:
    """Return the labels with a regret: methods that run without control, except Base."""
    cells = evidence.comparison.done
    kept = set(cells.loc[(cells["control"] == "none") & (cells["method"] != "base"), "label"])
    return [label for label in evidence.comparison.labels if label in kept]


def compared_rules(evidence: Evidence) -> list[StepRule]:
    """Return the rules with a regret: those other than the oracle that choose a step anywhere."""
    others = [rule for rule in evidence.rules if rule.name != ORACLE.name]
    return [rule for rule in others if _chooses(evidence, rule)]


def _chooses(evidence: Evidence, rule: StepRule) -> bool:
    """Return whether a rule chooses a step of any label with a regret."""
    found = evidence.chosen[rule.name]
    return any(found.rows(label) for label in adapting(evidence))


def regrets(evidence: Evidence) -> pd.DataFrame:
    """Return the regret of each label under each rule, Delta_TTT of the oracle minus the rule's.

    Both rules choose again in every replicate. A regret is not negative, so its interval ends at 0.
    The regret of `HELD_OUT` is the optimism of the oracle (`stats.cross_fitting`): `sd` is its
    standard deviation over partitions of the images, and it has no interval.

    Returns:
        Columns `label`, `selection` (the rule) and `ESTIMATE_COLUMNS`, in points. Labels for which
        a rule cannot choose a step are missing.
    """
    frames = [mean_regrets(evidence, [label]).assign(label=label) for label in adapting(evidence)]
    columns = ["label", "selection", *ESTIMATE_COLUMNS]
    kept = [frame for frame in frames if len(frame)]
    return pd.concat(kept, ignore_index=True)[columns] if kept else pd.DataFrame(columns=columns)


def mean_regrets(evidence: Evidence, labels: Sequence[str]) -> pd.DataFrame:
    """Return the mean regret over labels under each rule, as `regrets` but without `label`.

    Rules that cannot choose a step for one of the labels, in a seed that all have, are missing.
    """
    found = evidence.chosen
    names = [rule.name for rule in compared_rules(evidence)]
    frames = [
        _regret(found[ORACLE.name], found[name], labels).assign(selection=name) for name in names
    ]
    frames.append(_optimism(found[ORACLE.name], labels).assign(selection=HELD_OUT))
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)


def held_out(evidence: Evidence, label: str) -> tuple[float, float] | None:
    """Return the mean over seeds and partitions of the held-out oracle's Delta_TTT.

    The second number is the standard deviation over partitions. None without statistics of images.
    """
    oracle = evidence.chosen[ORACLE.name]
    places = list(oracle.rows(label).values())
    if oracle.held_out is None or np.isnan(oracle.held_out[:, places]).any() or not places:
        return None
    return _over_partitions(oracle.held_out[:, places])


def _regret(oracle: Chosen, rule: Chosen, labels: Sequence[str]) -> pd.DataFrame:
    seeds = _common([*_rows(oracle, labels), *_rows(rule, labels)])
    if not seeds:
        return pd.DataFrame()
    best, own = _places(oracle, labels, seeds), _places(rule, labels, seeds)
    values = (oracle.deltas[best] - rule.deltas[own]).mean(axis=0)
    drawn = _replicated(oracle, best, rule, own)
    result = estimate(values[:, None], drawn, oracle.units)
    frame = estimate_frame(result, [DELTA], seeds, [values.tolist()])
    return frame.assign(low=frame["low"].clip(lower=0.0))


def _replicated(oracle: Chosen, best: Indices, rule: Chosen, own: Indices) -> Array | None:
    """Return the replicates of the mean difference over labels, (R, S, 1), of cells (L, S)."""
    if oracle.replicates is None or rule.replicates is None:
        return None
    place = oracle.quantities.index(DELTA)
    # (R, L, S) -> (R, S, 1)
    difference = oracle.replicates[:, best, place] - rule.replicates[:, own, place]
    return np.asarray(difference.mean(axis=1)[..., None])


def _optimism(oracle: Chosen, labels: Sequence[str]) -> pd.DataFrame:
    seeds = _common(_rows(oracle, labels))
    places = _places(oracle, labels, seeds)
    if oracle.held_out is None or not seeds or np.isnan(oracle.held_out[:, places]).any():
        return pd.DataFrame()
    # (P, L, S) -> (P, S)
    values = (oracle.deltas[places] - oracle.held_out[:, places]).mean(axis=1)
    mean, sd = _over_partitions(values)
    per_seed = dict(zip(seeds, values.mean(axis=0).tolist(), strict=True))
    missing = dict.fromkeys(("low", "high", "p"), np.nan)
    row = {"quantity": DELTA, "mean": mean, "sd": sd, **missing, "units": oracle.units}
    return pd.DataFrame([{**row, "seeds": len(seeds), "values": per_seed}])


def _over_partitions(values: Array) -> tuple[float, float]:
    """Return the mean of (P, S), and the standard deviation over partitions of means over seeds.

    The deviation is NaN for one partition.
    """
    means = values.mean(axis=1)
    sd = float(means.std(ddof=1)) if len(means) > 1 else np.nan
    return float(means.mean()), sd


def _rows(found: Chosen, labels: Sequence[str]) -> list[dict[int, int]]:
    """Return the position of the cell of each seed, for each label."""
    return [found.rows(label) for label in labels]


def _common(rows: Sequence[dict[int, int]]) -> list[int]:
    """Return the seeds that all rows have, in ascending order."""
    return sorted(set.intersection(*map(set, rows)))


def _places(found: Chosen, labels: Sequence[str], seeds: Sequence[int]) -> Indices:
    """Return the positions of the cells of L labels and S seeds, (L, S)."""
    rows = _rows(found, labels)
    return np.array([list(map(own.__getitem__, seeds)) for own in rows], dtype=np.intp)
