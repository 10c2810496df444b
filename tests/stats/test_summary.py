"""The numbers of the tables against values worked out by hand (see `synthetic.build`)."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from support.synthetic import BASE, add_cell, compared, constant, gains, statistics_frame

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report import classes, main_table
from ttt_bench.report.figures.curves import sketch
from ttt_bench.report.parts.comparison import curves_caption
from ttt_bench.report.sync_table import build as build_sync
from ttt_bench.report.tables import DASH, Number
from ttt_bench.stats import summary
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import FIXED, ORACLE
from ttt_bench.stats.synchronisation import sync_frame
from ttt_bench.stats.trajectories import trajectories


@pytest.fixture(scope="module")
def means(comparison: Comparison) -> pd.DataFrame:
    return Evidence(comparison).all_estimates().set_index(["selection", "label", "quantity"])


@pytest.mark.parametrize(
    ("selection", "label", "quantity", "mean", "sd"),
    [
        ("oracle", "base", "delta_ttt", 0, 0),
        ("oracle", "base", "semseg", 20.2, 0.2),
        ("oracle", "norm", "delta_ttt", 5, 0),
        ("oracle", "tent", "delta_ttt", 12, 2),
        ("oracle", "tent", "delta_ttt_no_edge", 12, 2),
        # steps 2, 2 and 1
        ("oracle", "tent", "step", 5 / 3, math.sqrt(1 / 3)),
        # Base's mIoU is 20, 20.2 and 20.4 in the three seeds
        ("oracle", "tent", "semseg", (22 + 22.624 + 23.256) / 3, None),
        ("fixed", "tent", "delta_ttt", 7, math.sqrt(7)),
        ("fixed", "tent", "step", 3, 0),
        ("oracle", "s4t", "delta_ttt", 20, math.nan),
        ("oracle", "s4t (mask_ratio=0.5)", "delta_ttt", 3, math.nan),
        # from 8 % better than Base to 20 %: 1.2 / 1.08 up for mIoU, 0.8 / 0.92 down for the three
        # errors
        ("fixed", "s4t", "own_gain", 100 * ((1.2 / 1.08 - 1) + 3 * (1 - 0.8 / 0.92)) / 4, math.nan),
    ],
)
def test_by_hand(
    *,
    means: pd.DataFrame,
    selection: str,
    label: str,
    quantity: str,
    mean: float,
    sd: float | None,
) -> None:
    row = means.loc[(selection, label, quantity)]
    assert row["mean"] == pytest.approx(mean, abs=1e-9)
    if sd is not None:
        assert row["sd"] == pytest.approx(sd, abs=1e-9, nan_ok=True)
    assert row["seeds"] == (1 if label.startswith("s4t") else 3)


def test_own_gain_exists_only_for_own_source_models(means: pd.DataFrame) -> None:
    labels = means.xs("own_gain", level="quantity").index.get_level_values("label")
    assert set(labels) == {"s4t"}


def test_delta_without_edge_leaves_edge_out(tmp_path: Path) -> None:
    better = {
        "semseg": [20.0, 22.0],
        "depth": [0.8, 0.8],
        "normals": [40.0, 40.0],
        "edge": [0.2, 0.1],
    }
    add_cell(tmp_path, "base", constant(BASE, steps=1), config="a")
    add_cell(tmp_path, "tent", better, config="b")
    (comparison,) = compared(tmp_path)
    deltas = summary.delta_frame(summary.score_frame(comparison.rows), "base")
    # (10 + 0 + 0 + 50) / 4 and (10 + 0 + 0) / 3
    assert deltas.loc[("tent", 0, 1)].tolist() == pytest.approx([15.0, 10 / 3])


def test_oracle_takes_the_first_of_equal_steps_and_never_step_zero() -> None:
    rows = pd.concat([frame("base", [20.0] * 4), frame("tent", [30.0, 22.0, 24.0, 24.0])])
    scores = summary.score_frame(rows)
    found = trajectories(scores, "base")
    tent = list(found.cells).index(("tent", 0))
    assert ORACLE.choose(found)[tent] == 2
    assert FIXED.choose(found)[tent] == 3
    assert "delta_ttt_no_edge" not in summary.delta_frame(scores, "base")


def test_without_base_delta_and_oracle_are_missing(tmp_path: Path) -> None:
    add_cell(tmp_path, "tent", {"semseg": [20.0, 21.0]})
    (comparison,) = compared(tmp_path)
    means = Evidence(comparison).all_estimates()
    assert set(means["selection"]) == {"fixed"}
    assert set(means["quantity"]) == {"semseg", "step"}
    assert set(summary.curve_frame(comparison.scores, None)["quantity"]) == {"semseg"}


def test_a_seed_without_base_has_no_delta(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", {"semseg": [20.0, 20.0]}, config="a")
    add_cell(tmp_path, "tent", {"semseg": [20.0, 22.0]}, config="b")
    add_cell(tmp_path, "tent", {"semseg": [20.0, 30.0]}, config="c", seed=1)
    (comparison,) = compared(tmp_path)
    fixed = Evidence(comparison).estimates("fixed").set_index(["label", "quantity"])
    assert fixed.loc[("tent", "delta_ttt"), "mean"] == pytest.approx(10.0)
    assert fixed.loc[("tent", "delta_ttt"), "seeds"] == 1
    assert fixed.loc[("tent", "semseg"), "mean"] == 26.0


def test_a_base_of_zero_leaves_delta_undefined(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", {"semseg": [0.0, 0.0]}, config="a")
    add_cell(tmp_path, "tent", {"semseg": [1.0, 2.0]}, config="b")
    (comparison,) = compared(tmp_path)
    assert "delta_ttt" not in set(Evidence(comparison).all_estimates()["quantity"])


def test_constant_predictor_by_hand() -> None:
    found = summary.constant_predictor(statistics_frame())
    assert list(found) == ["semseg", "depth", "edge"]
    # 80 pixels of class 0, 20 of class 1, none of class 2: all 0 gives IoU 0.8, 0 and 0
    assert found["semseg"] == pytest.approx(80 / 3)
    # within batches: (1, 3) about 2 and (2, 2, 5) about 3; (0, 1) about 0.5 and three zeros
    assert found["depth"] == pytest.approx(math.sqrt((2 + 6) / 5))
    assert found["edge"] == pytest.approx(math.sqrt(0.5 / 5))


def test_main_table_cells(comparison: Comparison) -> None:
    constants = {"semseg": 40.0, "depth": 1.3, "edge": 0.203}
    built = main_table.build(Evidence(comparison), constants).table
    sections = {section.key: section for section in built.sections}
    assert list(sections) == ["fixed", "oracle", "constant", "missing"]
    tent = next(row for row in sections["fixed"].rows if row.label == "tent").cells
    # three seeds without statistics of images: t of 2 degrees of freedom is 4.303 at 95 %
    half = 4.30265 * math.sqrt(7 / 3)
    assert tent["delta_ttt_percent"] == Number(
        mean=pytest.approx(7.0),
        sd=pytest.approx(math.sqrt(7)),
        interval=(pytest.approx(7 - half, abs=1e-4), pytest.approx(7 + half, abs=1e-4)),
    )
    assert tent["delta_ttt_percent_of_each_seed"] == "8.00, 9.00, 4.00"
    # 3, 4 and -1 points above norm
    assert tent["delta_ttt_minus_norm"].mean == pytest.approx(2.0)
    oracle = {row.label: row.cells for row in sections["oracle"].rows}
    assert oracle["base"]["step"] == oracle["norm"]["step"] == DASH
    assert oracle["base"]["delta_ttt_percent"] == Number(mean=0.0)
    (tipi,) = sections["missing"].rows
    assert (tipi.label, tipi.state) == ("tipi", "not applicable")
    assert tipi.reason == "needs normals, which the target lacks"
    notes = dict(built.notes)
    assert "S4T, seed 1: diverged: loss not finite at batch 2, step 3" in notes["Missing"]
    assert notes["Saturated"].startswith("edge: Base is only 0.5 % better than the best constant")
    assert notes["Notice"] == "one class of semseg never occurs in the target"
    assert "TENT" in notes["Optimisers"]
    assert "SGD, learning rate 0.001, weight decay 1e-06" in notes["Optimisers"]
    scoring = [text for about, text in built.notes if about == "Scoring"]
    assert scoring == [
        "depth: one scale and shift a batch, metres",
        "edge: one scale and shift a batch",
    ]


def test_different_scorings_of_cells_are_both_named(tmp_path: Path) -> None:
    add_cell(
        tmp_path,
        "base",
        constant(BASE),
        config="a",
        manifest={"scoring": {"depth": "raw, in metres"}},
    )
    other = {"depth": "raw, in log units", "edge": "0 or 1"}
    add_cell(tmp_path, "tent", constant(BASE), config="b", manifest={"scoring": other})
    (comparison,) = compared(tmp_path)
    notes = main_table.build(Evidence(comparison), {}).table.notes
    scoring = [text for about, text in notes if about == "Scoring"]
    assert scoring == ["depth: raw, in metres | or: raw, in log units", "edge: 0 or 1"]


def test_classes_without_a_pixel_are_named(comparison: Comparison) -> None:
    counts = summary.class_pixels(statistics_frame())
    assert counts.tolist() == [80, 20, 0]
    assert summary.class_pixels(statistics_frame().query("task == 'depth'")).tolist() == []
    pixels = classes.named(counts, comparison.classes)
    assert pixels == {"wall": 80, "box": 20, "lamp": 0}
    text = "lamp: the target has no such pixels. IoU counts as 0, so mIoU is at most 66.7 %"
    assert dict(main_table.build(Evidence(comparison), {}, pixels).table.notes)["Classes"] == text
    assert "Classes" not in dict(
        main_table.build(Evidence(comparison), {}, {"wall": 1, "box": 2}).table.notes
    )
    table = classes.build(comparison, pixels)
    assert table is not None
    assert [row.cells["share_percent"] for row in table.sections[0].rows] == [
        Number(mean=80.0),
        Number(mean=20.0),
        Number(mean=0.0),
    ]
    assert classes.build(comparison, {}) is None
    # names that do not fit are not guessed
    assert list(classes.named(counts, ("wall", "box"))) == ["class 0", "class 1", "class 2"]


def test_online_explains_step_zero(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="a", protocol="online")
    add_cell(tmp_path, "tent", gains(5, 1, 4, 3), config="b", protocol="online")
    (comparison,) = compared(tmp_path)
    table = build_sync(Evidence(comparison))
    assert table.columns[-1].head == ("best at step 0", "of the batch")
    sentence = "step 0 of a batch is the state that the previous batches left, not Base"
    assert sentence in dict(table.notes)["Step 0"]
    assert sentence in dict(main_table.build(Evidence(comparison), {}).table.notes)["Protocol"]
    assert "not Base" in " ".join(sketch(comparison).figure.get_suptitle().split())
    assert sentence in curves_caption(comparison)


def test_a_single_task_variant_has_a_score_and_no_synchronisation(
    tmp_path: Path,
) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="b")
    add_cell(tmp_path, "s4t", gains(1, 2, 3, 4), config="s")
    alone = {"depth": gains(1, 5, 3, 2)["depth"]}
    add_cell(tmp_path, "s4t", alone, config="d", settings="s4t.tasks=single:depth")
    (comparison,) = compared(tmp_path)
    frame = sync_frame(trajectories(comparison.scores, comparison.base)).set_index("label")
    row = frame.loc["s4t (tasks=single:depth)"]
    assert row["peak_depth"] == 1.0
    assert row[["peak_semseg", "step_variance", "dtw", "cosine_similarity"]].isna().all()
    assert frame.loc["s4t", "step_variance"] == 0.0
    table = main_table.build(Evidence(comparison), {}).table
    fixed = next(section for section in table.sections if section.key == "fixed")
    cells = next(row for row in fixed.rows if "single" in row.name).cells
    assert isinstance(cells["depth_rmse"], Number)
    assert "delta_ttt_percent" not in cells or cells["delta_ttt_percent"] == DASH
    sketch(comparison)


def frame(label: str, values: list[float]) -> pd.DataFrame:
    """Return the rows of one trajectory of mIoU."""
    shared = {"label": label, "seed": 0, "task": "semseg", "metric": "miou", "class": ""}
    return pd.DataFrame([{**shared, "step": s, "value": v} for s, v in enumerate(values)])
