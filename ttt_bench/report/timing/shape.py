"""Measured times and published ones, compared by their ratios to one method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import spearmanr

from ttt_bench.results.measurements import Measurement
from ttt_bench.results.timings import NSTEPS, PREDICT, STEP, whole

REFERENCE = "actmad"
"""The method that times are divided by: it adds no modules, and S4T prints its time."""
COMPARED = (PREDICT, STEP, NSTEPS)
"""The phases that are compared with the published column."""
FEWEST = 3
"""Smallest number of methods that give a correlation."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How close the times of a phase are to the published ones, whatever their scale.

    Attributes:
        phase: the phase.
        methods: the number of methods, `REFERENCE` included.
        rank_correlation: Spearman's rank correlation with the published times.
        distance: root mean square difference of the logarithms of the ratios to `REFERENCE`, over
            the other methods, as a factor: 1 means equal ratios.
    """

    phase: str
    methods: int
    rank_correlation: float
    distance: float


def seconds_of(found: Sequence[Measurement], phase: str) -> dict[str, float]:
    """Map method to the median seconds of a phase."""
    times = {str(one.manifest["method"]): whole(one) for one in found}
    return {method: own[phase] for method, own in times.items() if phase in own}


def ratios(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the times as multiples of that of `REFERENCE`; empty without it."""
    reference = seconds.get(REFERENCE)
    return {method: own / reference for method, own in seconds.items()} if reference else {}


def shapes(found: Sequence[Measurement], published: Mapping[str, float]) -> list[Shape]:
    """Return the comparison of each phase with the published times, the nearest first."""
    shown = [_shape(phase, seconds_of(found, phase), published) for phase in COMPARED]
    return sorted((one for one in shown if one is not None), key=lambda one: one.distance)


def _shape(
    phase: str, seconds: Mapping[str, float], published: Mapping[str, float]
) -> Shape | None:
    both = [method for method in published if method in seconds]
    if REFERENCE not in both or len(both) < FEWEST:
        return None
    ours = ratios({method: seconds[method] for method in both})
    theirs = ratios({method: published[method] for method in both})
    gaps = [math.log(ours[m] / theirs[m]) ** 2 for m in both if m != REFERENCE]
    constant = len(set(ours.values())) == 1  # its ranks are not defined
    ranks = None if constant else spearmanr([ours[m] for m in both], [theirs[m] for m in both])
    return Shape(
        phase=phase,
        methods=len(both),
        rank_correlation=math.nan if ranks is None else float(ranks.statistic),
        distance=math.exp(math.sqrt(sum(gaps) / len(gaps))),
    )
