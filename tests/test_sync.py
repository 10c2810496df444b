"""The synchronisation measures against by-hand examples and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_bench import sync

walks = st.lists(st.integers(-5, 5), min_size=2, max_size=8)


def test_peaks_and_their_spread_by_hand() -> None:
    # higher is better: best at step 3; lower is better: best at step 1, reached again at step 4
    trajectories = [[1.0, 2.0, 5.0, 4.0], [1.0, 2.0, 3.0, 1.0]]
    assert sync.peak_steps(trajectories, [False, True]).tolist() == [3, 1]
    assert sync.step_variance(trajectories, [False, True]) == 1.0


def test_dtw_by_hand() -> None:
    # a shift in time costs nothing but the ends: 0-1 once, then 1-1, 2-2, and 2-3
    assert sync.dtw_distance([0, 1, 2], [1, 2, 3]) == 2.0
    assert sync.dtw_distance([0, 0, 1, 2], [0, 1, 1, 2, 2]) == 0.0
    assert sync.dtw_distance([5], [1, 2]) == 7.0


def test_similarity_by_hand() -> None:
    # increments +, +, -, 0 and +, -, -, +: 1 - 1 + 1 + 0
    pair = [[0, 1, 2, 1, 1], [5, 7, 6, 3, 9]]
    assert sync.cosine_similarity(pair) == 1.0
    assert sync.cosine_similarity(pair, "mean") == 0.25
    # a third row that mirrors the first: pairs score 1, -3 and -1
    assert math.isclose(sync.cosine_similarity([*pair, [0, -1, -2, -1, -1]]), (1 - 3 - 1) / 3)


def test_normalize_by_hand() -> None:
    values = [[10.0, 20.0, 15.0], [3.0, 3.0, 3.0]]
    assert sync.normalize(values, "minmax").tolist() == [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    assert sync.normalize(values, "relative", [10.0, 4.0]).tolist() == [
        [0.0, 100.0, 50.0],
        [-25.0] * 3,
    ]
    assert sync.normalize(values) is not values
    assert sync.orient(values, [True, False]).tolist() == [[-10.0, -20.0, -15.0], [3.0, 3.0, 3.0]]


@settings(max_examples=60, deadline=None)
@given(walks, walks)
def test_dtw_properties(first: list[int], second: list[int]) -> None:
    distance = sync.dtw_distance(first, second)
    assert distance == sync.dtw_distance(second, first)
    assert distance >= max(abs(first[0] - second[0]), abs(first[-1] - second[-1]))
    assert sync.dtw_distance(first, first) == 0.0
    if len(first) == len(second):
        assert distance <= np.abs(np.subtract(first, second)).sum()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=2, max_size=8))
def test_similarity_does_not_depend_on_the_scale(points: list[tuple[int, int]]) -> None:
    pair = np.array(points, dtype=float).T
    similarity = sync.cosine_similarity(pair)
    assert similarity == sync.cosine_similarity(pair * [[3.0], [0.1]] + 7.0)
    assert similarity == -sync.cosine_similarity(pair * [[1.0], [-1.0]])
    assert -1.0 <= sync.cosine_similarity(pair, "mean") <= 1.0


def test_refusals() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        sync.dtw_distance([], [1.0])
    with pytest.raises(ValueError, match="at least two trajectories"):
        sync.mean_dtw([[1.0, 2.0]])
    with pytest.raises(ValueError, match="at least two steps"):
        sync.cosine_similarity([[1.0], [2.0]], "mean")
    with pytest.raises(ValueError, match="'sum' or 'mean'"):
        sync.cosine_similarity([[1.0, 2.0], [2.0, 3.0]], "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="base scores"):
        sync.normalize([[1.0]], "relative")
    with pytest.raises(ValueError, match="'minmax'"):
        sync.normalize([[1.0]], "zscore")  # type: ignore[arg-type]
