"""Learning rates: the grid of trials, the choice among them, and where each task peaks."""

from __future__ import annotations

from collections.abc import Mapping

TRIALS = 16
"""Trials per method."""
PER_DECADE = 2
DECIMALS = 4
"""Digits after the point of Delta_TTT (percent) that are compared and printed."""
TOLERANCE = 0.01
"""Difference of Delta_TTT (percent) up to which two rates count as equal."""
FILE = "tuned.toml"
"""Name of the file of chosen rates in the results folder of the trials."""
RULE = (
    f"the largest Delta_TTT at the last step, rounded to {DECIMALS} decimals; of the rates at most "
    f"{TOLERANCE} below it the default, or else the smallest"
)
"""How `choose_rate` chooses, in words."""


def rate_grid(
    default: float, below: int = 8, above: int = 7, per_decade: int = PER_DECADE
) -> list[float]:
    """Return learning rates around a default one, which is among them, in ascending order.

    Args:
        default: the default rate, above 0.
        below: number of smaller rates.
        above: number of larger rates.
        per_decade: rates per factor of ten. The other rates are rounded to three digits.
    """
    factors = ((step, 10 ** (step / per_decade)) for step in range(-below, above + 1))
    return [float(f"{default * factor:.3g}") if step else default for step, factor in factors]


def choose_rate(deltas: Mapping[float, float | None], default: float) -> float:
    """Return the learning rate that `RULE` chooses; the default if no trial has a Delta_TTT.

    Args:
        deltas: learning rate -> Delta_TTT at the last step in percent; None if it diverged.
        default: the default rate.
    """
    rounded = {rate: round(delta, DECIMALS) for rate, delta in deltas.items() if delta is not None}
    if not rounded:
        return default
    best = max(rounded.values())
    # the difference of two rounded numbers may exceed the tolerance by a rounding error
    tied = [rate for rate, delta in rounded.items() if round(best - delta, DECIMALS) <= TOLERANCE]
    return default if default in tied else min(tied)
