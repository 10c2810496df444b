"""Peaks, parting and plateau of a grid of rates by steps, against a worked example."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from support.rates import example_map

from ttt_bench.stats.rate_maps import RateMap, rate_map


def test_means_are_over_seeds_and_a_missing_seed_leaves_none() -> None:
    points = pd.DataFrame(
        [
            (0.0, 1, 0, 1.0, 4.0),
            (0.0, 1, 1, 3.0, 0.0),
            (1e-3, 1, 0, 5.0, 6.0),
            (1e-3, 1, 1, np.nan, np.nan),
        ],
        columns=["lr", "steps", "seed", "depth", "delta_ttt"],
    )
    found = rate_map(points, pair="a:b", method="tent", chosen=1e-3)
    assert (found.rates, found.steps, found.tasks) == ((0.0, 1e-3), (1,), ("depth",))
    assert found.at("depth", 0.0, 1) == 2.0
    assert found.at("delta_ttt", 0.0, 1) == 2.0
    assert math.isnan(found.at("depth", 1e-3, 1))


def test_each_quantity_peaks_at_its_best_point() -> None:
    shown = example_map()
    assert shown.peak("delta_ttt") == (1e-3, 3, 3.0)
    assert shown.peak("semseg") == (1e-4, 1, 2.0)
    assert shown.peak("depth") == (1e-2, 3, 6.0)


def test_a_gain_within_the_tolerance_of_rate_0_is_no_gain_of_updates() -> None:
    # the best is 1.006 at 1e-4, which is 0.006 above rate 0
    assert example_map().peak("edge") == (0.0, 1, 1.0)


def test_tasks_part_by_the_distance_of_the_peaks_that_updates_improve() -> None:
    parting = example_map().parting()
    assert parting.decades == pytest.approx(2.0)
    assert (parting.steps, parting.not_improved) == (2, ("edge",))


def test_the_plateau_has_the_rates_around_the_best_at_the_last_number_of_steps() -> None:
    # 2.6, 3.0 and 2.5 are within 0.5 of 3.0; 1e-1 has no score
    plateau = example_map().plateau()
    assert plateau is not None
    assert (plateau.low, plateau.high) == (1e-4, 1e-2)
    assert (plateau.open_low, plateau.open_high) == (False, False)
    assert plateau.decades == pytest.approx(2.0)


def test_a_plateau_ends_at_a_gap_and_is_open_at_the_end_of_the_grid() -> None:
    values = np.array([[0.0], [4.9], [5.0], [1.0], [5.0]])
    shown = RateMap(
        pair="a:b",
        method="tent",
        chosen=1e-2,
        rates=(0.0, 1e-3, 1e-2, 1e-1, 1.0),
        steps=(1,),
        changes={"delta_ttt": values, "depth": values},
    )
    plateau = shown.plateau()
    assert plateau == (1e-3, 1e-2, True, False)
    assert shown.parting() == (None, None, ())


def test_a_map_without_scores_has_neither_peak_nor_plateau() -> None:
    nothing = np.full((2, 1), np.nan)
    shown = RateMap(
        pair="a:b",
        method="tent",
        chosen=1.0,
        rates=(0.0, 1.0),
        steps=(1,),
        changes={"delta_ttt": nothing},
    )
    assert shown.peak("delta_ttt") is None
    assert shown.plateau() is None
