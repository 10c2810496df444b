"""The grid of learning rates and the choice among trials, against worked examples."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from ttt_bench.designs.rates import TRIALS, choose_rate, rate_grid


@pytest.mark.parametrize("default", [1e-6, 2e-5, 0.0137])
def test_the_grid_has_the_default_and_half_decades_around_it(default: float) -> None:
    rates = rate_grid(default)
    assert len(rates) == TRIALS
    assert default in rates
    assert rates == sorted(rates)
    steps = [math.log10(b / a) for a, b in pairwise(rates)]
    assert steps == pytest.approx([0.5] * 15, abs=0.005)


@pytest.mark.parametrize(
    ("deltas", "chosen"),
    [
        ({1e-4: 1.0, 1e-3: 2.0, 1e-2: 1.5}, 1e-3),
        # the default is within the tolerance of the best
        ({1e-4: 2.0, 1e-3: 1.99, 1e-2: 2.0}, 1e-3),
        # it is not, so the smallest of the tied ones
        ({1e-5: 1.995, 1e-4: 2.0, 1e-3: 1.9899, 1e-2: 2.0}, 1e-5),
        # a difference below the last digit that is printed does not count
        ({1e-4: 2.00004, 1e-3: 1.98996}, 1e-3),
        ({1e-4: 2.0, 1e-3: None}, 1e-4),
        ({1e-4: None, 1e-3: None}, 1e-3),
        ({1e-4: -3.0, 1e-3: -5.0}, 1e-4),
    ],
)
def test_the_best_rate_is_chosen_and_ties_go_to_the_default_or_the_smallest(
    deltas: dict[float, float | None], chosen: float
) -> None:
    assert choose_rate(deltas, default=1e-3) == chosen
