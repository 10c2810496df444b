"""Groups of comparisons that differ in one choice: means and ranks by hand, on made numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.across import PAIR, numbers

from ttt_bench.analysis.across.frames import across_frame, mean_half_width
from ttt_bench.analysis.across.groups import groups
from ttt_bench.analysis.across.published_frame import published_frame
from ttt_bench.analysis.across.published_ranks import (
    published_deltas,
    published_ranks,
    rank_correlations,
)
from ttt_bench.results.published import for_pair
from ttt_bench.stats.bootstrap import estimate

FIRST = {"base": 0.0, "tent": 4.0, "s4t": 10.0, "s4t (frozen)": 20.0, "ttt": 1.0}
SECOND = {"base": 0.0, "tent": 4.0, "s4t": 4.0, "s4t (frozen)": 20.0}


def _all(frame: pd.DataFrame, value: str, quantity: str) -> dict[str, tuple[float, float, float]]:
    own = frame[(frame["value"] == value) & (frame["quantity"] == quantity)]
    return {row.label: (row.mean, row.low, row.high) for row in own.itertuples()}


def test_groups_differ_in_exactly_one_choice() -> None:
    made = [
        numbers(FIRST, pair="a:b"),
        numbers(FIRST, pair="c:d"),
        numbers(FIRST, pair="a:b", protocol="episodic"),
        numbers(FIRST, pair="e:f", protocol="single"),
        numbers(FIRST, pair="a:b", settings="data.target_limit=128; data.x=1"),
        numbers(FIRST, pair="a:b", settings="data.target_limit=32; data.x=1"),
    ]
    found = {(group.axis, group.values) for group in groups(made)}
    assert found == {
        ("pair", ("a:b", "c:d")),
        ("protocol", ("episodic", "online")),
        ("data.target_limit", ("32", "128")),
    }


def test_a_missing_setting_is_a_value_and_comes_first() -> None:
    made = [numbers(FIRST, settings="data.target_limit=32"), numbers(FIRST)]
    (group,) = groups(made)
    assert (group.axis, group.values) == ("data.target_limit", ("default", "32"))
    assert "target_limit" not in group.shared


def test_comparisons_of_equal_names_are_left_out() -> None:
    made = [numbers(FIRST, pair="a:b", others=True, comparison=c * 9) for c in "xy"]
    (group,) = groups([*made, numbers(FIRST, pair="c:d"), numbers(FIRST, pair="e:f")])
    assert group.values == ("c:d", "e:f")
    assert group.left_out == ("a:b (xxxxxx)", "a:b (yyyyyy)")


def test_means_and_ranks_are_of_rows_that_all_values_have() -> None:
    (group,) = groups([numbers(FIRST, pair="a:b"), numbers(SECOND, pair="c:d", half=3.0)])
    found = across_frame(group, "fixed")
    half = (1 + 9) ** 0.5 / 2  # independent pairs
    means = _all(found, "all", "delta_ttt")
    assert means["s4t"] == pytest.approx((7.0, 7 - half, 7 + half))
    assert "ttt" not in means
    assert "s4t (frozen)" in means
    # in the first pair s4t, tent, base are 1, 2, 3; in the second s4t and tent share 1.5
    assert _all(found, "all", "rank") == {
        "base": (3.0, 3.0, 3.0),
        "tent": (1.75, 1.75, 1.75),
        "s4t": (1.25, 1.25, 1.25),
    }


@pytest.mark.parametrize(
    ("pairs", "independent"),
    [(("a:b", "c:d"), True), (("a:b", "a:c"), False), (("a:b", "c:b+noise"), False)],
)
def test_pairs_that_share_a_domain_are_dependent(pairs: list[str], independent: bool) -> None:
    (group,) = groups([numbers(FIRST, pair=pair) for pair in pairs])
    assert group.independent is independent


def test_intervals_of_means_cover() -> None:
    rng = np.random.default_rng(3)
    own = rng.normal(size=(3, 2, 4000))  # seeds, pairs, experiments
    same = np.repeat(own[:, :1], 2, axis=1)
    for values, independent in ((own, True), (same, False)):
        result = estimate(values)
        half = mean_half_width((result.high - result.low) / 2, independent=independent)
        covers = np.abs(result.mean.mean(axis=0)) <= half
        assert covers.mean() > 0.94


def test_published_ranks_agree_with_themselves() -> None:
    published = published_deltas(PAIR, for_pair(PAIR).tasks)  # type: ignore[union-attr]
    made = numbers({label: delta.value for label, delta in published.items()} | {"norm": 5.0})
    found = published_ranks(made, "fixed")
    assert found["rank"].tolist() == found["published_rank"].tolist()
    assert "norm" not in set(found["label"])
    expected = [(1.0, 1.0, 1.0, 10)] * 2
    rows = rank_correlations(made, "fixed")[["mean", "low", "high", "methods"]]
    assert [tuple(row) for row in rows.itertuples(index=False)] == [
        pytest.approx(row) for row in expected
    ]


def test_correlations_of_draws_widen_with_their_noise() -> None:
    published = published_deltas(PAIR, for_pair(PAIR).tasks)  # type: ignore[union-attr]
    made = {label: -delta.value for label, delta in published.items()}
    found = rank_correlations(numbers(made, noise=5.0), "fixed").set_index("measure")
    rho = found.loc["Spearman's rho"]
    assert rho["mean"] == pytest.approx(-1.0)
    assert -1.0 <= rho["low"] < rho["high"] < 0


def test_contradicted_and_other_tasks_are_recomputed() -> None:
    reverse = "pascal:taskonomy"
    found = published_deltas(reverse, for_pair(reverse).tasks)  # type: ignore[union-attr]
    assert [label for label, delta in found.items() if delta.recomputed] == ["tent"]
    assert found["tent"].value == pytest.approx(-18.48, abs=0.005)
    part = published_deltas(PAIR, ("depth",))
    # TR-TTT, Table 1 prints depth RMSE 1.179 for Base
    assert part["base"].value == 0
    assert all(delta.recomputed for delta in part.values())
    assert published_deltas("rooms:rooms-mix", ("depth",)) == {}


def test_pairs_have_published_means_and_ranks() -> None:
    deltas = {"base": 0.0, "tent": 1.0, "s4t": 2.0, "norm": 3.0}
    (group,) = groups([numbers(deltas, pair=pair) for pair in (PAIR, "nyud:taskonomy")])
    found = published_frame(group)
    # Delta_TTT of TENT: 14.26 in TR-TTT, Table 1, and -19.76 in S4T, Table 4
    assert _all(found, "all", "delta_ttt")["tent"][0] == pytest.approx((14.26 - 19.76) / 2)
    assert _all(found, "all", "rank")["tent"][0] == 2.5
    assert "norm" not in set(found["label"])
