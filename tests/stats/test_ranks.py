"""Ranks and rank correlations against scipy and by hand; draws against the interval they follow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from ttt_bench.stats.bootstrap import estimate
from ttt_bench.stats.ranks import (
    CORRELATIONS,
    drawn_means,
    kendall,
    quantile_interval,
    ranks,
    spearman,
)


def test_the_largest_has_rank_1_and_ties_share_their_average() -> None:
    assert ranks([3.0, -1.0, 3.0, 10.0]).tolist() == [2.5, 4.0, 2.5, 1.0]
    assert ranks([[1.0, 2.0], [2.0, 1.0]]).tolist() == [[2.0, 1.0], [1.0, 2.0]]


def test_correlations_are_those_of_scipy_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    first, others = rng.integers(0, 5, 8).astype(float), rng.integers(0, 5, (20, 8)).astype(float)
    expected = [[spearmanr(first, one)[0], kendalltau(first, one)[0]] for one in others]
    found = np.stack([spearman(first, others), kendall(first, others)], axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("measure", CORRELATIONS)
def test_a_constant_side_has_no_correlation(measure: str) -> None:
    assert np.isnan(CORRELATIONS[measure](np.ones(4), np.arange(4.0)))


def test_draws_of_seeds_follow_the_interval_of_seeds() -> None:
    values = dict(enumerate([1.0, 4.0, 2.0, 2.0, 3.0, 1.5]))
    drawn = drawn_means(values, None, 0, "pair")
    exact = estimate(list(values.values()))
    assert drawn is not None
    width = float(exact.high - exact.low)
    np.testing.assert_allclose(quantile_interval(drawn), [exact.low, exact.high], atol=0.15 * width)


def test_what_a_seed_changes_in_two_rows_cancels_between_them() -> None:
    seeds = {0: 1.0, 1: 9.0, 2: -5.0}
    first = drawn_means(seeds, None, 0, "pair")
    second = drawn_means({seed: value - 0.1 for seed, value in seeds.items()}, None, 0, "pair")
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first - second, 0.1)


def test_draws_of_images_have_the_variance_of_the_bootstrap() -> None:
    replicates = np.random.default_rng(1).normal(size=(1000, 1))
    drawn = drawn_means({0: 5.0}, replicates, 10, "pair")
    assert drawn is not None
    assert drawn.mean() == pytest.approx(5.0)
    assert drawn.var() == pytest.approx(10 / 9 * replicates.var())


def test_one_seed_without_images_has_no_draws() -> None:
    assert drawn_means({0: 5.0}, None, 0, "pair") is None
