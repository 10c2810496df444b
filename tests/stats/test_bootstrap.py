"""Intervals against Student's t of scipy, hand-worked values and simulations with known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ttt_bench.stats.bootstrap import degrees_of_freedom, estimate, holm, total_variance, weights


def test_weights_draw_every_unit_as_often_on_average() -> None:
    drawn = weights(5, replicates=4000)
    assert drawn.shape == (4000, 5)
    assert (drawn.sum(axis=1) == 5).all()
    assert drawn.mean(axis=0) == pytest.approx([1] * 5, abs=0.06)
    # equal arguments give equal draws; another number of units, other ones
    assert (drawn == weights(5, replicates=4000)).all()


def test_without_images_the_interval_is_students_t_over_seeds() -> None:
    values = np.array([1.0, 2.0, 4.5])
    found = estimate(values)
    expected = stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.mean, found.sd) == (pytest.approx(2.5), pytest.approx(values.std(ddof=1)))
    assert (found.seeds, int(found.units)) == (3, 0)


def test_of_one_seed_the_interval_is_students_t_over_units() -> None:
    units = np.random.default_rng(0).normal(0.4, 1, 16)
    replicates = weights(16, replicates=20_000) @ units / 16
    found = estimate([units.mean()], replicates[:, None], 16)
    low, high = stats.ttest_1samp(units, 0).confidence_interval(0.95)
    assert found.low == pytest.approx(low, abs=0.02)
    assert found.high == pytest.approx(high, abs=0.02)
    assert found.p == pytest.approx(stats.ttest_1samp(units, 0).pvalue, rel=0.1)
    assert np.isnan(found.sd)


def test_one_seed_without_images_has_no_interval() -> None:
    found = estimate([3.0])
    assert found.mean == 3.0
    assert np.isnan([found.low, found.high, found.p]).all()


def test_degrees_of_freedom_are_weighted_by_the_shares_of_the_variance() -> None:
    freedom = degrees_of_freedom([(np.array(0.03), 15), (np.array(0.09), 2)])
    # a quarter of the variance has 15, three quarters have 2
    assert freedom == pytest.approx(1 / (0.25 / 15 + 0.75 / 2))
    # a source that is not known has no share
    assert degrees_of_freedom([(np.array(np.nan), 15), (np.array(0.09), 2)]) == 2


@pytest.mark.parametrize(
    ("of_images", "of_seeds", "explained", "total"),
    [
        (0.03, 0.09, 0.02, 0.10),
        (0.03, 0.01, 0.02, 0.03),  # images explain the whole spread between seeds
        (0.01, 0.09, 0.05, 0.09),  # never less than seeds alone
        (np.nan, 0.09, 0.0, 0.09),
        (0.03, np.nan, 0.0, 0.03),
        (np.nan, np.nan, 0.0, np.nan),
    ],
)
def test_variances_add_up(
    of_images: float, of_seeds: float, explained: float, total: float
) -> None:
    found = total_variance(np.array(of_images), np.array(of_seeds), explained)
    assert found == pytest.approx(total, nan_ok=True)


def test_seeds_are_inside_their_interval_whatever_images_explain() -> None:
    rng = np.random.default_rng(5)
    values = np.array([1.79, 4.28])
    # two units whose draws move both seeds far more than they differ
    replicates = values + rng.normal(0, 5, (500, 2))
    found = estimate(values, replicates, 2)
    assert found.low < values.min()
    assert found.high > values.max()


def test_spread_between_seeds_that_images_explain_is_not_counted_twice() -> None:
    rng = np.random.default_rng(1)
    # no seed effect: every seed is another function of the same units
    units = rng.normal(0, 1, (3, 2000))
    replicates = weights(2000) @ units.T / 2000
    found = estimate(units.mean(axis=1), replicates, 2000)
    alone = 1.96 * np.sqrt(1 / 2000 / 3)
    assert (found.high - found.low) / 2 < 2 * alone


@pytest.mark.parametrize("seeds", [1, 3])
def test_p_is_below_5_percent_if_and_only_if_the_interval_excludes_zero(seeds: int) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(1, 1, 200) + rng.normal(0, 0.3, (seeds, 200))
    shared = rng.normal(0, 0.4, (500, 1, 200))
    replicates = values + shared + rng.normal(0, 0.1, (500, seeds, 200))
    found = estimate(values, replicates, 12)
    excludes = (found.low > 0) | (found.high < 0)
    assert (excludes == (found.p < 0.05)).all()
    assert 0.1 < excludes.mean() < 0.9


def test_p_of_nothing_and_of_certainty() -> None:
    assert estimate([0.0, 0.0, 0.0]).p == 1.0
    assert estimate([2.0, 2.0, 2.0]).p == 0.0
    assert estimate([-1.0, 1.0]).p == 1.0


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.04 times 3, 2, 1, made ascending: 0.03, 0.04, 0.04
    assert holm([0.04, np.nan, 0.01, 0.02]) == pytest.approx(
        [0.04, np.nan, 0.03, 0.04], nan_ok=True
    )
    assert holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([]).tolist() == []


@pytest.mark.parametrize(
    ("of_seed", "of_image", "of_both"),
    [(0, 1, 0), (0, 1, 1), (0.3, 1, 0.5), (1, 1, 1), (1, 0, 0.1), (0.25, 0, 1), (0.5, 0, 1)],
)
def test_intervals_of_three_seeds_and_sixteen_batches_cover_as_often_as_they_say(
    of_seed: float, of_image: float, of_both: float
) -> None:
    rng = np.random.default_rng(3)
    experiments, seeds, units = 1500, 3, 16
    # (experiments, seeds, units), with true mean 0
    values = rng.normal(0, of_seed, (experiments, seeds, 1))
    values = values + rng.normal(0, of_image, (experiments, 1, units))
    values = values + rng.normal(0, of_both, (experiments, seeds, units))
    drawn = weights(units, replicates=300) / units
    replicates = np.einsum("ru,esu->rse", drawn, values)
    found = estimate(values.mean(axis=2).T, replicates, units)
    covered = ((found.low <= 0) & (found.high >= 0)).mean()
    # the standard error of a share of 0.95 is 0.0056
    assert 0.925 <= covered <= 0.985


def test_a_quantity_without_statistics_of_images_uses_seeds_alone() -> None:
    values = np.array([[1.0, 1.0], [2.0, 2.0], [4.5, 4.5]])
    replicates = np.stack([values, values + 0.2])
    replicates[..., 1] = np.nan
    found = estimate(values, replicates, 8)
    assert found.units.tolist() == [8, 0]
    alone = estimate(values[:, 1])
    assert found.low[1] == alone.low
    assert found.low[0] != alone.low
