"""`open_results` on made folders, against arithmetic of pandas alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.generated import generate
from support.synthetic import add_cell, constant, gains

import ttt_bench
from ttt_bench import Results, open_results
from ttt_bench.errors import BenchError

BASE = {"semseg": 20.0, "depth": 0.8, "normals": 40.0, "edge": 0.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder with three seeds of four methods and statistics of 32 images."""
    path = tmp_path_factory.mktemp("generated")
    methods = ("base", "norm", "tent", "s4t")
    return generate(path, methods=methods, steps=3, images=32, batch=8, workers=1)


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return open_results(folder)


def deltas(rows: pd.DataFrame, tasks: tuple[str, ...]) -> pd.Series:
    """Return Delta_TTT at the last step by method, control and seed, from the rows alone."""
    primary = rows[rows["metric"].isin(["miou", "rmse", "merr"]) & rows["task"].isin(tasks)]
    last = primary[primary["step"] == primary["steps"]].set_index(["method", "control", "seed"])
    before = primary[(primary["method"] == "base") & (primary["step"] == 0)]
    reference = before.set_index(["seed", "task"])["value"]
    flat = last.reset_index()
    base = reference.loc[list(zip(flat["seed"], flat["task"], strict=True))].to_numpy()
    sign = np.where(flat["task"] == "semseg", 1, -1)
    change = 100 * sign * (flat["value"] / base - 1)
    return change.groupby([flat["method"], flat["control"], flat["seed"]]).mean()


def test_delta_of_each_seed(results: Results) -> None:
    found = results.delta(per="seed").set_index(["label", "seed"])["delta_ttt"]
    expected = deltas(results.rows, ("semseg", "depth", "normals", "edge"))
    for seed in (0, 1, 2):
        assert found["s4t", seed] == pytest.approx(expected["s4t", "none", seed])
        assert found["s4t (frozen)", seed] == pytest.approx(expected["s4t", "frozen", seed])


def test_delta_of_some_tasks(results: Results) -> None:
    found = results.delta(tasks=["depth", "normals"]).set_index("label")
    expected = deltas(results.rows, ("depth", "normals"))["s4t", "none"]
    assert found.loc["s4t", "delta_ttt"] == pytest.approx(expected.mean())
    assert found.loc["s4t", "sd"] == pytest.approx(expected.std())
    assert found.loc["s4t", "low"] < expected.mean() < found.loc["s4t", "high"]


def test_scores_are_wide_and_have_the_stored_means(results: Results) -> None:
    wide = results.scores().set_index("label")
    rows = results.rows
    own = rows[(rows["method"] == "tent") & (rows["control"] == "none") & (rows["step"] == 3)]
    miou = own[(own["task"] == "semseg") & (own["metric"] == "miou")]["value"]
    assert wide.loc["tent", "semseg"] == pytest.approx(miou.mean())
    names = [name for name in wide.columns if name in ("semseg", "depth", "normals", "edge")]
    assert names == ["semseg", "depth", "normals", "edge"]


def test_selected_methods_keep_their_references(results: Results) -> None:
    few = results.select(methods="s4t", seeds=[0, 2])
    assert set(few.rows["method"]) == {"s4t"}
    assert set(few.rows["seed"]) == {0, 2}
    assert few.delta()["label"].tolist() == ["s4t", "s4t (frozen)"]
    assert set(few.differences()["reference"]) == {"base", "norm", "frozen"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"methods": "tnt"}, "unknown method 'tnt'; did you mean tent"),
        ({"pairs": "made:shift"}, "unknown pair 'made:shift'; did you mean made:shifted"),
        ({"seeds": 7}, "unknown seed '7'"),
        ({"tasks": ["dept"]}, "unknown task 'dept'; did you mean depth"),
        ({"tasks": []}, "no task is selected"),
        ({"methods": ()}, "no method is selected"),
    ],
)
def test_unknown_names_are_refused(results: Results, choice: dict, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        results.select(**choice)


def test_unknown_rules_and_rows_are_refused(results: Results) -> None:
    with pytest.raises(BenchError, match="unknown step rule 'orcale'; did you mean oracle"):
        results.delta(rule="orcale")
    with pytest.raises(BenchError, match="unknown row 's4'"):
        results.compare("s4", "norm")
    with pytest.raises(BenchError, match="unknown per 'seeds'; did you mean seed"):
        results.delta(per="seeds")


def test_a_comparison_is_the_negative_of_its_reverse(results: Results) -> None:
    ours, theirs = results.compare("s4t", "norm"), results.compare("norm", "s4t")
    assert ours["mean"].tolist() == pytest.approx((-theirs["mean"]).tolist())
    assert ours["low"].tolist() == pytest.approx((-theirs["high"]).tolist())
    assert ours["p"].tolist() == pytest.approx(theirs["p"].tolist())
    assert ours["units"].tolist() == [4] * len(ours)


def test_all_rows_have_the_same_draws(results: Results) -> None:
    (one,) = results.evidence
    found = one.chosen["fixed"]
    # at learning rate 0 step 3 is step 0, and tent's update has no effect in this folder
    places = [found.rows(label)[0] for label in ("norm", "s4t (frozen)")]
    assert found.replicates is not None
    first, second = found.replicates[:, places[0]], found.replicates[:, places[1]]
    assert np.corrcoef(first[:, 4], second[:, 4])[0, 1] > 0.9


def test_the_rule_chooses_again_in_each_replicate(tmp_path: Path) -> None:
    folder = generate(tmp_path, methods=("base", "s4t"), steps=4, images=64, workers=1)
    (one,) = open_results(folder).evidence
    oracle, fixed = one.chosen["oracle"], one.chosen["fixed"]
    assert oracle.replicates is not None
    assert fixed.replicates is not None
    place = oracle.rows("s4t")[0]
    delta = oracle.quantities.index("delta_ttt")
    # at the best step of each replicate, never below the last one
    gain = oracle.replicates[:, place, delta] - fixed.replicates[:, place, delta]
    assert (gain >= -1e-9).all()


def test_intervals_without_statistics_come_from_seeds_alone(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        add_cell(tmp_path, "base", constant(BASE), config=f"b{seed}", seed=seed)
        add_cell(tmp_path, "tent", gains(0, 1, 2, 3 + seed), config=f"t{seed}", seed=seed)
    estimates = open_results(tmp_path).estimates().set_index(["label", "quantity"])
    row = estimates.loc[("tent", "delta_ttt")]
    # 3, 4, 5: standard error 1 / sqrt 3, t of 2 degrees of freedom 4.303
    assert row["high"] - row["mean"] == pytest.approx(4.30265 / np.sqrt(3), rel=1e-5)
    assert row["units"] == 0


def test_differences_are_paired_by_seed(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        scale = {task: value * (1 + 0.1 * seed) for task, value in BASE.items()}
        for name, change in (("base", 0), ("norm", 5 + seed), ("tent", 6 + seed)):
            values = gains(0, change, base=scale)
            add_cell(tmp_path, name, values, config=f"{name}{seed}", seed=seed)
    found = open_results(tmp_path).differences()
    row = found[(found["label"] == "tent") & (found["reference"] == "norm")]
    delta = row[row["quantity"] == "delta_ttt"].iloc[0]
    # one point above norm in every seed, although norm itself varies by a point
    assert delta["mean"] == pytest.approx(1.0)
    assert delta["sd"] == pytest.approx(0.0, abs=1e-9)
    assert delta["values"] == {0: pytest.approx(1), 1: pytest.approx(1), 2: pytest.approx(1)}


def test_several_folders_are_one_result(folder: Path, tmp_path: Path) -> None:
    other = generate(tmp_path, pairs=("made:other",), methods=("base", "norm"), workers=1)
    both = open_results(folder, other)
    assert set(both.rows["pair"]) == {"made:shifted", "made:other"}
    assert len(both.comparisons) == 2


def test_the_package_has_the_function() -> None:
    assert ttt_bench.open_results is open_results
    with pytest.raises(BenchError, match="give the path"):
        open_results()
