"""Regrets and the oracle's optimism, by hand and by loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import generated
from support.synthetic import BASE, add_cell, compared, constant, gains
from support.synthetic import build as build_synthetic

from ttt_bench import open_results
from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.images import images_of
from ttt_bench.analysis.regret import HELD_OUT, mean_regrets, regrets
from ttt_bench.errors import BenchError
from ttt_bench.metrics.base import metrics_of
from ttt_bench.metrics.delta import delta_ttt
from ttt_bench.stats.cross_fitting import partitions
from ttt_bench.stats.step_rules import ORACLE, STEP_RULES
from ttt_bench.stats.trajectories import trajectories


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Return two seeds of three methods on 12 images in 6 batches, with 4 steps and losses."""
    folder = tmp_path_factory.mktemp("made")
    options = {"methods": ("base", "norm", "actmad"), "seeds": 2, "steps": 4, "images": 12}
    generated.generate(folder, batch=2, classes=3, workers=1, **options)
    (only,) = compared(folder)
    return Evidence(only)


def row(found: pd.DataFrame, label: str, rule: str) -> pd.Series:
    (own,) = found[(found["label"] == label) & (found["selection"] == rule)].index
    return found.loc[own]


def test_the_regret_of_each_seed_by_hand(tmp_path: Path) -> None:
    found = open_results(build_synthetic(tmp_path)).regret()
    # oracle 10, 12, 14; fixed 8, 9, 4
    tent = row(found, "tent", "fixed")
    assert tent["values"] == pytest.approx({0: 2, 1: 3, 2: 10})
    assert tent["mean"] == pytest.approx(5)
    assert tent["low"] == 0 < tent["mean"] < tent["high"], "a regret is not negative"
    assert row(found, "norm", "fixed")["mean"] == pytest.approx(0)
    assert set(found["selection"]) == {"fixed"}, "no losses, and no statistics of these scores"


def test_the_mean_over_rows_has_the_seeds_that_all_have(tmp_path: Path) -> None:
    (only,) = compared(build_synthetic(tmp_path))
    (fixed,) = mean_regrets(Evidence(only), ["norm", "tent"]).itertuples()
    assert fixed.values == pytest.approx({0: 1, 1: 1.5, 2: 5})
    (fixed,) = mean_regrets(Evidence(only), ["tent", "s4t"]).itertuples()
    assert fixed.values == pytest.approx({0: 1}), "s4t has numbers in seed 0 only"


def test_without_base_nothing_has_a_regret(tmp_path: Path) -> None:
    add_cell(tmp_path, "tent", gains(1, 2, 3))
    assert open_results(tmp_path).regret().empty


def test_a_regret_is_the_difference_of_two_deltas(made: Evidence) -> None:
    found = regrets(made)
    for rule in ("fixed", "loss"):
        own = row(found, "actmad", rule)
        deltas = {
            name: made.chosen[name].deltas[list(made.chosen[name].rows("actmad").values())]
            for name in ("oracle", rule)
        }
        assert own["mean"] == pytest.approx((deltas["oracle"] - deltas[rule]).mean())
        assert own["units"] == 6
        assert 0 <= own["low"] <= own["mean"] <= own["high"]


def test_each_rule_chooses_again_in_every_replicate(made: Evidence) -> None:
    oracle, fixed = made.chosen["oracle"], made.chosen["fixed"]
    place = oracle.quantities.index("delta_ttt")
    difference = oracle.replicates[..., place] - fixed.replicates[..., place]
    assert (difference >= -1e-9).all(), "the oracle is the best one in each replicate"
    assert (difference > 1e-6).any()


def test_the_held_out_oracle_agrees_with_loops(made: Evidence) -> None:
    comparison = made.comparison
    observed = trajectories(comparison.scores, comparison.base)
    images = images_of(comparison, observed)
    cells = list(observed.cells)
    cell, base = cells.index(("actmad", 1)), cells.index(("base", 1))
    tasks, lower = observed.tasks, [metrics_of(t).lower_is_better for t in observed.tasks]

    def delta(units: list[int], steps: list[int]) -> float:
        """Return Delta_TTT on units, each of them at a step."""
        scores, reference = [], []
        for task in tasks:
            score = metrics_of(task).score_of_sums
            own = [images.cells[cell][task][u, s] for u, s in zip(units, steps, strict=True)]
            scores.append(float(score(np.sum(own, axis=0))))
            reference.append(float(score(images.cells[base][task][units, 0].sum(axis=0))))
        return delta_ttt(scores, reference, lower)

    expected = []
    for folds in partitions(images.units):
        steps = np.zeros(images.units, dtype=int)
        for fold in set(folds.tolist()):
            others = np.flatnonzero(folds != fold).tolist()
            by_step = [delta(others, [step] * len(others)) for step in range(1, 5)]
            steps[folds == fold] = 1 + int(np.argmax(by_step))
        expected.append(delta(list(range(images.units)), steps.tolist()))
    held_out = made.chosen["oracle"].held_out
    np.testing.assert_allclose(held_out[:, cell], expected)
    own = row(regrets(made), "actmad", HELD_OUT)
    optimism = made.chosen["oracle"].deltas[cell] - np.mean(expected)
    assert own["values"][1] == pytest.approx(optimism)


def test_delta_takes_every_rule(made: Evidence, tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE))
    add_cell(tmp_path, "tent", gains(1, 2, 4, 3), config="t")
    results = open_results(tmp_path)
    by_rule = {rule: results.delta(rule=rule, per="seed") for rule in ("fixed", "oracle")}
    assert by_rule["oracle"].set_index("label")["delta_ttt"]["tent"] == pytest.approx(4)
    assert by_rule["fixed"].set_index("label")["step"]["tent"] == 3
    for name in ("loss", "agreement", "change"):
        assert results.delta(rule=name).empty, "the folder has no signals"
    with pytest.raises(BenchError, match="unknown step rule 'fxed'; did you mean fixed"):
        results.delta(rule="fxed")
    with STEP_RULES.extended({"late": ORACLE}), pytest.raises(BenchError, match="open them again"):
        results.delta(rule="late")
    # losses 1, 1/2, 1/3, 1/4: the declines are 1/2, 1/6, 1/12, so none is small enough
    assert set(made.chosen["loss"].steps.tolist()) <= {4, -1}
