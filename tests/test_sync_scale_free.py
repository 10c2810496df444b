"""The scale-free synchronisation measures against by-hand examples, brute force and properties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_bench import sync

HIGHER = [False, False]
steps = st.integers(-5, 5)
pairs = st.lists(st.tuples(steps, steps), min_size=2, max_size=7).map(
    lambda points: np.array(points, dtype=float).T
)


def test_unit_curves_by_hand() -> None:
    curves = [[40.0, 42.0, 44.0], [0.8, 0.7, 0.6], [5.0, 5.004, 5.0], [1.0, np.nan, 2.0]]
    units = sync.unit_curves(curves, [False, True, False, False])
    # both improve by half of their range at each step; 0.08 % is flat
    np.testing.assert_allclose(units[:2], [[0.0, 0.5, 1.0]] * 2)
    assert np.isnan(units[2:]).all()
    assert sync.flat_curves(curves).tolist() == [False, False, True, False]
    np.testing.assert_allclose(sync.unit_curves(curves, [False] * 4, [0, 0, 0, 0])[2], [0, 1, 0])


def test_peak_times_by_hand() -> None:
    curves = [
        [0.0, 0.5, 1.0, 0.0],  # reaches 0.9 four fifths of the way from step 1 to step 2
        [0.0, 0.95, 0.92, 1.0],  # the first of the tied steps
        [1.0, 0.5, 0.0, 0.3],  # best before adapting
        [np.nan] * 4,
    ]
    times = sync.peak_times(curves)
    np.testing.assert_allclose(times[:3], [1.8, 0.9 / 0.95, 0.0])
    assert np.isnan(times[3])
    # a spread of +-0.9 steps of 3
    assert sync.peak_spread([curves[0], curves[2]]) == pytest.approx(0.3)
    assert np.isnan(sync.peak_spread([curves[0], curves[3]]))


def test_the_largest_spread_is_a_half() -> None:
    assert sync.peak_spread([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], near=0.0) == 0.5


def test_agreement_by_hand() -> None:
    # increments 0.5, 0.5 and 0.9, -0.4: 0.5 of common motion agrees, 0.4 does not
    assert sync.direction_agreement([[0, 0.5, 1], [0, 0.9, 0.5]]) == pytest.approx(0.1 / 0.9)
    # an increment of 1e-6 counts for nothing
    assert sync.direction_agreement([[0, 1, 1 - 1e-6], [0, 0.5, 1]]) == pytest.approx(1, abs=1e-5)
    # tasks that never change at the same step
    assert np.isnan(sync.direction_agreement([[0, 1, 1], [0, 0, 1]]))


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_distance_is_that_of_the_best_of_all_paths(pair: np.ndarray) -> None:
    last = pair.shape[1] - 1
    cost = [
        [abs(a - b) + abs(i - j) / last for j, b in enumerate(pair[1])]
        for i, a in enumerate(pair[0])
    ]
    best = min(_total(cost, path) for path in _paths(last, last))
    assert sync.curve_distance(pair) == pytest.approx(best / (last + 1))


@settings(max_examples=60, deadline=None)
@given(pairs, st.floats(0.1, 9.0), st.floats(-50.0, 50.0), st.booleans())
def test_measures_depend_neither_on_level_nor_on_gain(
    pair: np.ndarray, gain: float, level: float, lower: bool
) -> None:
    changed = pair * [[1.0], [-gain if lower else gain]] + [[3.0], [level]]
    kept = np.ptp(pair, axis=1) == 0
    first = sync.unit_curves(pair, HIGHER, kept)
    second = sync.unit_curves(changed, [False, lower], kept)
    np.testing.assert_allclose(second, first, atol=1e-9)
    for measure in (sync.curve_distance, sync.direction_agreement):
        np.testing.assert_allclose(measure(second), measure(first), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(pairs)
def test_measures_are_in_their_ranges(pair: np.ndarray) -> None:
    units = sync.unit_curves(pair, HIGHER)
    spread, distance = sync.peak_spread(units), sync.curve_distance(units)
    agreement = sync.direction_agreement(units)
    if np.isnan(units).any():
        assert np.isnan([spread, distance, agreement]).all()
        return
    assert 0 <= spread <= 0.5
    assert 0 <= distance <= np.abs(units[0] - units[1]).mean() + 1e-12 <= 1 + 1e-12
    assert np.isnan(agreement) or -1 <= agreement <= 1
    same = np.stack([units[0], units[0]])
    assert (sync.peak_spread(same), sync.curve_distance(same)) == (0, 0)
    assert sync.direction_agreement(same) == pytest.approx(1)


def test_leading_axes_give_the_values_of_each_set() -> None:
    rng = np.random.default_rng(0)
    sets = np.cumsum(rng.normal(size=(5, 3, 4, 9)), axis=-1)
    sets[1, 2, 3] = 7.0
    sets[2, :, 0, 4] = np.nan
    lower = [False, True, True, False]
    units = sync.unit_curves(sets, lower)
    measured = {
        sync.step_variance: sets,
        sync.mean_dtw: sets,
        sync.cosine_similarity: sets,
        sync.peak_spread: units,
        sync.curve_distance: units,
        sync.direction_agreement: units,
    }
    for measure, curves in measured.items():
        extra = (lower,) if measure is sync.step_variance else ()
        each = [[measure(one, *extra) for one in row] for row in curves]
        np.testing.assert_array_equal(measure(curves, *extra), each)


def test_a_missing_or_flat_task_is_left_out() -> None:
    rng = np.random.default_rng(1)
    curves = np.cumsum(rng.normal(size=(3, 9)), axis=-1)
    missing = np.concatenate([curves, np.full((1, 9), np.nan)])
    assert sync.mean_dtw(missing) == sync.mean_dtw(curves)
    assert sync.step_variance(missing, [False] * 4) == sync.step_variance(curves, [False] * 3)
    assert sync.cosine_similarity(missing) == sync.cosine_similarity(curves)
    flat = np.concatenate([curves, 1 + 1e-6 * rng.normal(size=(1, 9))])
    for measure in (sync.peak_spread, sync.curve_distance, sync.direction_agreement):
        alone = measure(sync.unit_curves(curves, [False] * 3))
        assert measure(sync.unit_curves(missing, [False] * 4)) == alone
        assert measure(sync.unit_curves(flat, [False] * 4)) == alone


def _paths(i: int, j: int) -> Iterator[list[tuple[int, int]]]:
    """Yield every warping path from (0, 0) to (i, j)."""
    if (i, j) == (0, 0):
        yield [(0, 0)]
    for back in ((1, 0), (0, 1), (1, 1)):
        if i >= back[0] and j >= back[1]:
            for path in _paths(i - back[0], j - back[1]):
                yield [*path, (i, j)]


def _total(cost: Sequence[Sequence[float]], path: Sequence[tuple[int, int]]) -> float:
    return sum(cost[i][j] for i, j in path)


def test_pairs_are_all_pairs() -> None:
    rng = np.random.default_rng(2)
    curves = np.cumsum(rng.normal(size=(4, 6)), axis=-1)
    each = [sync.dtw_distance(a, b) for a, b in combinations(curves, 2)]
    assert sync.mean_dtw(curves) == pytest.approx(np.mean(each))
