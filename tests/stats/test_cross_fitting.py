"""Cross-fitting, worked by hand and on noise whose expected maximum is known."""

from __future__ import annotations

import numpy as np

from ttt_bench.stats.cross_fitting import held_out_sums, partitions, training_weights


def test_partitions_are_even_and_repeatable() -> None:
    found = partitions(13, folds=5, repeats=4)
    assert found.shape == (4, 13)
    for row in found:
        assert sorted(np.bincount(row)) == [2, 2, 3, 3, 3]
    np.testing.assert_array_equal(found, partitions(13, folds=5, repeats=4))
    assert len({tuple(row) for row in found}) == 4
    (few,) = partitions(3, folds=5, repeats=4)
    assert set(few) == {0, 1, 2}, "each unit is a fold, so there is one partition"


def test_a_fold_is_left_out_of_the_choice_of_its_step() -> None:
    weights = training_weights(np.array([[0, 1, 1, 2]]))
    assert weights.tolist() == [[[0, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 0]]]


def test_each_unit_is_taken_at_the_step_of_its_fold() -> None:
    # 3 units, 3 steps, 1 sum: unit u has 10 u + step
    sums = (10 * np.arange(3)[:, None] + np.arange(3))[..., None].astype(float)
    folds = np.array([[0, 1, 1], [1, 0, 1]])
    steps = np.array([[2, 1], [0, 2]])
    # units 0, 1, 2 at steps 2, 1, 1, and at steps 2, 0, 2
    assert held_out_sums(sums, steps, folds).tolist() == [[2 + 11 + 21], [2 + 10 + 22]]


def test_the_optimism_of_the_best_of_equal_steps_is_found() -> None:
    """The best mean of T equal steps is too good by E max of T means; held out by nothing."""
    draw = np.random.default_rng(0)
    units, steps = 40, 5
    folds = partitions(units, repeats=2)
    training = training_weights(folds)
    found = []
    for _ in range(2000):
        values = draw.normal(size=(units, steps))
        # (P, K, U) x (U, T) -> (P, K)
        chosen = (training @ values).argmax(axis=-1)
        held_out = held_out_sums(values[..., None], chosen, folds) / units
        found.append(values.mean(axis=0).max() - held_out.mean())
    # E max of 5 standard normal values is 1.16296
    expected = 1.16296 / np.sqrt(units)
    assert abs(np.mean(found) - expected) < 4 * np.std(found) / np.sqrt(len(found))
    assert np.std(found) / np.sqrt(len(found)) < 0.05 * expected
