"""Checks of published numbers by the papers' other numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ttt_bench.metrics.base import metrics_of
from ttt_bench.metrics.delta import delta_ttt
from ttt_bench.results.published.numbers import PublishedNumber, half_unit

TOLERANCE = 0.1
"""The largest difference, in points, of a published and a recomputed Delta_TTT without a flag."""

CAUSES = {
    ("taskonomy:pascal", "tttflow"): "cause unknown (a digit?)",
    ("pascal:taskonomy", "tent"): "printed as a fraction, not percent",
    ("nyud:taskonomy", "tttflow"): "rounding of the printed means",
    ("nyud:taskonomy", "tent"): "rounding of the printed means",
}
"""Causes, found by an audit, of published Delta_TTT that differ from the published means."""

Scores = Mapping[str, PublishedNumber]
"""Task -> the printed score."""


def recomputed(scores: Scores, base: Scores, tasks: tuple[str, ...]) -> float | None:
    """Return Delta_TTT over some tasks from printed means, in percent; None if one is missing."""
    if not tasks or any(task not in scores or task not in base for task in tasks):
        return None
    return delta_ttt(
        [scores[task].value for task in tasks],
        [base[task].value for task in tasks],
        [metrics_of(task).lower_is_better for task in tasks],
    )


def gives_delta(delta: PublishedNumber, again: float) -> bool:
    """Return whether a printed Delta_TTT agrees with the one recomputed from printed means."""
    return math.isclose(delta.value, again, abs_tol=TOLERANCE)


def delta_flag(pair: str, method: str, delta: PublishedNumber, again: float) -> str:
    """Return the reason to doubt a printed Delta_TTT; empty if the printed means give it.

    Args:
        again: Delta_TTT recomputed from the printed means.
    """
    if gives_delta(delta, again) and (pair, method) not in CAUSES:
        return ""
    cause = CAUSES.get((pair, method), "cause unknown")
    return f"printed {delta.value:.2f}, the printed means give {again:.2f}: {cause}"


def spread_flag(delta: PublishedNumber, scores: Scores, base: Scores) -> str:
    """Return the reason to doubt the printed spread of Delta_TTT; empty if it is possible.

    With Base fixed, Delta_TTT is a sum over tasks. Its standard deviation is at most the sum of the
    tasks' parts, and at least the largest part minus all others, whatever their correlation.
    Printed spreads are taken as rounded.
    """
    spread = delta.spread
    parts = [_part(scores[task].sd, base[task], len(base)) for task in base]
    if spread is None or None in parts:
        return ""
    known = [part for part in parts if part is not None]
    low, high = _range([value for value, _ in known])
    # the range that rounding of the printed spreads allows
    slack = sum(error for _, error in known) + half_unit(delta.sd)
    if low - slack <= spread <= high + slack:
        return ""
    return (
        f"± {delta.sd} is printed for Delta_TTT. The printed spreads of the tasks allow "
        f"{low:.3g} to {high:.3g} if Base is fixed"
    )


def same_spread(one: str, other: str) -> bool:
    """Return whether two printed spreads can be roundings of the same number."""
    return abs(float(one) - float(other)) <= half_unit(one) + half_unit(other)


def _part(sd: str, base: PublishedNumber, tasks: int) -> tuple[float, float] | None:
    """Return a task's part of the spread of Delta_TTT, in points, and its rounding error."""
    if not sd:
        return None
    factor = 100 / base.value / tasks
    return factor * float(sd), factor * half_unit(sd)


def _range(parts: list[float]) -> tuple[float, float]:
    total = sum(parts)
    return max(0.0, 2 * max(parts) - total), total
