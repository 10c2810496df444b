"""Rows against rows: of one folder, and of two folders A and B."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.folders import drop_statistics
from support.generated import generate
from support.synthetic import BASE, add_cell, build, constant, gains

from ttt_bench import open_results
from ttt_bench.analysis.comparing.compared import Compared, between, within
from ttt_bench.analysis.comparing.image_differences import image_differences
from ttt_bench.errors import BenchError
from ttt_bench.metrics.base import metrics_of
from ttt_bench.results.store import read_table

METHODS = ("base", "norm", "s4t")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with statistics: 3 seeds, 2 steps, 12 images in batches of 4."""
    sizes = {"seeds": 3, "steps": 2, "images": 12, "batch": 4, "classes": 3}
    return generate(tmp_path_factory.mktemp("made"), methods=METHODS, workers=1, **sizes)


def folder(root: Path, *gain: float, configuration: dict[str, Any] | None = None) -> Path:
    """Write base and tent with these gains in two seeds."""
    whole = {"target": "abc", "target_images": 2, "batch": 1, **(configuration or {})}
    for seed in (0, 1):
        shared: dict[str, Any] = {
            "seed": seed,
            "config": f"c{seed}",
            "manifest": {"configuration": whole},
        }
        add_cell(root, "base", constant(BASE, len(gain) - 1), **shared)
        add_cell(root, "tent", gains(*(one + seed for one in gain)), **shared)
    return root


def by_quantity(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index("quantity")


def test_two_rows_of_a_folder_are_paired_by_seed(tmp_path: Path) -> None:
    # tent gains 8, 9 and 4 percent at the last step, norm 5
    found = by_quantity(open_results(build(tmp_path)).compare("tent", "norm"))
    delta = found.loc["delta_ttt"]
    assert delta["values"] == pytest.approx({0: 3, 1: 4, 2: -1})
    assert (delta["mean"], delta["mean_a"], delta["mean_b"]) == pytest.approx((2, 7, 5))
    assert found.loc["depth", "mean"] == pytest.approx(-(0.024 + 0.04 * 0.808 - 0.01 * 0.816) / 3)
    assert delta["p_holm"] == delta["p"]
    assert delta["verdict"] == 0


def test_an_interval_of_differences_is_narrower_than_that_of_the_rows(made: Path) -> None:
    results = open_results(made)
    paired = by_quantity(results.compare("s4t", "norm")).loc["depth"]
    own = results.estimates().query("label == 's4t' and quantity == 'depth'").iloc[0]
    assert paired["units"] == 3
    assert paired["high"] - paired["low"] < (own["high"] - own["low"]) / 2


def test_without_statistics_intervals_are_those_of_seeds(made: Path, tmp_path: Path) -> None:
    results = folder(tmp_path, 0, 4)
    drop_statistics(results)
    found = by_quantity(open_results(results).compare("tent", "base")).loc["delta_ttt"]
    assert found["units"] == 0
    # mean 4.5, two values: the interval of Student's t with 1 degree of freedom
    assert found["high"] - found["mean"] == pytest.approx(12.706 * 0.5, rel=1e-3)


def test_equal_folders_differ_by_nothing(made: Path) -> None:
    results = open_results(made)
    found = results.against(results)
    assert set(found["a"]) == {"base", "norm", "s4t", "s4t (frozen)"}
    assert (found["mean"] == 0).all()
    assert (found["p_holm"] == 1).all()
    # the change of Base against itself says nothing
    assert set(found.query("a == 'base'")["quantity"]) == {"semseg", "depth", "normals", "edge"}


def test_two_folders_are_compared_row_by_row(tmp_path: Path) -> None:
    ours = open_results(folder(tmp_path / "a", 0, 5))
    theirs = open_results(folder(tmp_path / "b", 0, 3))
    found = ours.against(theirs, "tent")
    delta = by_quantity(found).loc["delta_ttt"]
    assert delta["values"] == pytest.approx({0: 2, 1: 2})
    named = by_quantity(ours.against(theirs, "tent", "base")).loc["delta_ttt"]
    assert named["values"] == pytest.approx({0: 5, 1: 6})
    assert (named["a"], named["b"]) == ("tent", "base")


def test_p_values_are_corrected_over_the_rows(made: Path) -> None:
    results = open_results(made)
    compared = between(results.evidence, results.evidence)
    for count in (1, 3):
        pairs = [pair._replace(b="base") for pair in compared.pairs if pair.a != "base"][:count]
        found = Compared(tuple(pairs)).differences("fixed").query("quantity == 'depth'")
        assert len(found) == count
        assert found["p_holm"].min() == pytest.approx(count * found["p"].min())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"target": "xyz"}, "target is abc and xyz"),
        ({"target_images": 4}, "target_images is 2 and 4"),
        ({"scoring": {"alignment": "per image"}}, "scoring.alignment"),
        ({"batch": 8}, "batch is 1 and 8"),
    ],
)
def test_other_data_and_scoring_are_refused(
    changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    scoring = {"scoring": {"alignment": "per batch"}}
    ours = open_results(folder(tmp_path / "a", 0, 5, configuration=scoring))
    theirs = open_results(folder(tmp_path / "b", 0, 3, configuration=scoring | changed))
    (name,) = changed
    with pytest.raises(BenchError, match=words) as refused:
        ours.against(theirs)
    assert str(refused.value).endswith(f"--allow {name}")
    allowed = ours.against(theirs, "tent", allow=name)
    assert by_quantity(allowed).loc["delta_ttt", "mean"] == pytest.approx(2)
    compared = between(ours.evidence, theirs.evidence, allow=["all"])
    assert any(words in note and note.endswith("allowed") for note in compared.notes)


def test_other_steps_are_refused_of_methods_that_adapt(tmp_path: Path) -> None:
    ours = open_results(folder(tmp_path / "a", 0, 5))
    theirs = open_results(folder(tmp_path / "b", 0, 4, 5))
    with pytest.raises(BenchError, match="tent: steps is 1 and 2"):
        ours.against(theirs, "tent")
    assert by_quantity(ours.against(theirs, "tent", allow="steps")).loc[
        "delta_ttt", "mean"
    ] == pytest.approx(0)


def test_an_unknown_entry_cannot_be_allowed(made: Path) -> None:
    results = open_results(made)
    with pytest.raises(BenchError, match="did you mean target"):
        results.against(results, allow="targets")


def test_what_is_missing_is_named_and_the_rest_compared(tmp_path: Path) -> None:
    ours, theirs = folder(tmp_path / "a", 0, 5), folder(tmp_path / "b", 0, 3)
    add_cell(ours, "norm", gains(0, 1), config="n0")
    add_cell(theirs, "tent", gains(0, 7), seed=2, config="c2")
    why = "loss not finite at step 1"
    add_cell(ours, "tent", state="diverged", reason=why, seed=2, steps=1, config="c2")
    compared = between(open_results(ours).evidence, open_results(theirs).evidence)
    assert compared.notes == (
        "only A has numbers of Norm, which are left out",
        f"TENT in A has no numbers for seed 2, which is left out (diverged: {why})",
    )
    assert set(compared.differences("fixed")["seeds"]) == {2}


def test_conditions_and_base_that_differ_are_noted(tmp_path: Path) -> None:
    found = []
    for name, device, level in (("a", "cpu", 1.0), ("b", "cuda", 1.1)):
        scores = {task: value * level for task, value in BASE.items()}
        shared = {"manifest": {"provenance": {"device": device}}}
        add_cell(tmp_path / name, "base", constant(scores), **shared)
        add_cell(tmp_path / name, "norm", gains(0, 1, 2, 3, base=scores), **shared)
        found.append(open_results(tmp_path / name).evidence)
    compared = between(*found)
    assert compared.notes == (
        "device differs, so a part of a difference can come from it: cpu in A; cuda in B",
        "Base has other scores in A than in B (largest differences: semseg 2, depth 0.08, "
        "normals 4, edge 0.02); each Delta_TTT is against the Base of its own results",
    )


def test_comparisons_of_equal_choices_come_together(tmp_path: Path) -> None:
    names = {"a": ("rooms:x", "rooms:y"), "b": ("rooms:y", "rooms:z")}
    for name, pairs in names.items():
        for pair in pairs:
            add_cell(tmp_path / name, "base", constant(BASE), pair=pair)
    ours, theirs = (open_results(tmp_path / name).evidence for name in names)
    compared = between(ours, theirs)
    assert [pair.first.comparison.key.pair for pair in compared.pairs] == ["rooms:y"]
    assert [note.partition(" (")[0] for note in compared.notes] == [
        "only A has rooms:x",
        "only B has rooms:z",
    ]


def test_images_are_ranked_by_their_mean_change(made: Path) -> None:
    (pair,) = within(open_results(made).evidence, "s4t", "norm").pairs
    found = image_differences(pair, "fixed", 4)
    scores = {label: _image_scores(made, label) for label in ("s4t", "norm")}
    whole = pair.first.comparison.scores.xs(("norm", 2), level=("label", "step")).mean()
    sign = {"semseg": 1, "depth": -1, "normals": -1, "edge": -1}
    change = sum(
        sign[task] * 100 * (scores["s4t"][task] - scores["norm"][task]) / whole[task] / 4
        for task in sign
    )
    order = np.argsort(-np.abs(change))[:4]
    assert list(found["image"][::4]) == list(order)
    assert found["change"].to_numpy()[::4] == pytest.approx(change[order])
    assert list(found["batch"][::4]) == list(order // 4)
    normals = found[found["task"] == "normals"]
    assert normals["score_a"].to_numpy() == pytest.approx(scores["s4t"]["normals"][order])


def _image_scores(made: Path, method: str) -> dict[str, np.ndarray]:
    """Return the scores of each image at the last step, task -> (12,), mean over seeds."""
    tables = []
    for cell in open_results(made).cells.query("method == @method and control == 'none'")["folder"]:
        table = read_table(Path(cell), "statistics")
        tables.append(table[table["step"] == 2].sort_values("image"))
    return {
        task: np.mean([_of_task(table, task) for table in tables], axis=0)
        for task in ("semseg", "depth", "normals", "edge")
    }


def _of_task(table: pd.DataFrame, task: str) -> np.ndarray:
    """Return a task's score of each image, in the alignment of its batch by least squares."""
    rows = table[table["task"] == task]
    values = np.stack(list(rows["values"]))
    if not metrics_of(task).aligned:
        return np.array([metrics_of(task).score([one[None]]) for one in values])
    found = []
    for one, batch in zip(values, rows["batch"], strict=True):
        n, p, t, pp, _, pt = values[(rows["batch"] == batch).to_numpy()].sum(axis=0)
        scale, shift = np.linalg.solve([[pp, p], [p, n]], [pt, t])
        n, p, t, pp, tt, pt = one
        squares = (
            scale**2 * pp + n * shift**2 + tt + 2 * (scale * shift * p - scale * pt - shift * t)
        )
        found.append((squares / n) ** 0.5)
    return np.array(found)


def test_images_of_cells_without_statistics_are_not_shown(tmp_path: Path) -> None:
    results = folder(tmp_path, 0, 4)
    drop_statistics(results)
    (pair,) = within(open_results(results).evidence, "tent", "base").pairs
    assert image_differences(pair, "fixed", 3).empty


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (("s5t", "norm"), "did you mean s4t"),
        (("s4t", "s4t"), "the same row"),
    ],
)
def test_rows_that_cannot_be_compared(rows: tuple[str, str], words: str, made: Path) -> None:
    with pytest.raises(BenchError, match=words):
        open_results(made).compare(*rows)


def test_a_rule_without_its_signals_is_refused(tmp_path: Path) -> None:
    results = open_results(folder(tmp_path, 0, 4))
    with pytest.raises(BenchError, match=r"agreement chooses no step .* choose another rule"):
        results.compare("tent", "base", rule="agreement")


def test_named_rows_have_the_numbers_of_the_whole_table(made: Path) -> None:
    results = open_results(made)
    table = results.differences().query("reference == 'norm' and label == 's4t'")
    found = results.compare("s4t", "norm")
    for column in ("mean", "low", "high", "p"):
        assert found[column].to_numpy() == pytest.approx(table[column].to_numpy())
