"""The synchronisation table: columns, dashes, differences to the frozen control, and notes."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.synthetic import BASE, add_cell, compared, constant, gains

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report.sync_table import MEASURED, build
from ttt_bench.report.tables import DASH, Number
from ttt_bench.stats.comparison import Comparison


def test_sync_table_has_dashes_for_constant_trajectories(comparison: Comparison) -> None:
    table = build(Evidence(comparison))
    rows = {row.label: row.cells for row in table.sections[0].rows}
    assert list(rows) == ["norm", "tent", "s4t", "s4t (mask_ratio=0.5)"]
    assert set(rows["norm"].values()) == {DASH}
    assert "Norm" in dict(table.notes)["Dash"]
    # every task of tent rises by the same percentage at every step
    expected = {"step_variance": 0, "dtw": 0, "cosine_similarity_per_step": 1}
    expected |= {"peak_spread": 0, "curve_distance": 0, "direction_agreement": 1}
    for measure, value in expected.items():
        cell = rows["tent"][MEASURED[measure].key]
        assert isinstance(cell, Number)
        assert (cell.mean, cell.sd) == pytest.approx((value, 0), abs=1e-9)
        assert cell.interval == pytest.approx((value, value), abs=1e-9)


def test_sync_without_base_keeps_measures_without_it(tmp_path: Path) -> None:
    add_cell(tmp_path, "tent", gains(5, 1, 4, 3))
    (comparison,) = compared(tmp_path)
    table = build(Evidence(comparison))
    (row,) = table.sections[0].rows
    assert "dtw_relative_percent" not in row.cells
    assert row.cells["cosine_similarity_sum"] == Number(mean=2.0)
    assert row.cells["cs_scale_free"] == Number(mean=pytest.approx(1.0))
    assert row.cells["best_at_step_0"] == "all tasks"
    assert table.columns[-1].head == ("best before", "adapting")
    assert "No raw DTW" in dict(table.notes)
    assert not {"Step 0", "One step", "Number of steps"} & dict(table.notes).keys()


def test_best_at_step_zero_is_flagged_where_nothing_else_can_be_measured(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="a")
    add_cell(tmp_path, "norm", gains(5, 1, 1, 1), config="b")
    add_cell(tmp_path, "tent", gains(5, 1), config="c")
    add_cell(tmp_path, "actmad", gains(5, 6), config="d")
    # equal but for rounding
    add_cell(tmp_path, "tipi", gains(5 + 1e-11, 5, 5, 5), config="e")
    (comparison,) = compared(tmp_path)
    table = build(Evidence(comparison))
    rows = {row.label.split(" ")[0]: row.cells for row in table.sections[0].rows}
    flags = {label: cells["best_at_step_0"] for label, cells in rows.items()}
    assert flags == {"norm": "all tasks", "tent": "all tasks", "actmad": DASH, "tipi": DASH}
    assert not {"step_variance_steps", "sv_scale_free"} & set(rows["tent"])
    # a change at step 1 alone is a curve over steps 0..N, but not over steps 1..N
    assert "step_variance_steps" not in rows["norm"]
    assert rows["norm"]["sv_scale_free"] == Number(mean=0.0)


def test_rows_of_other_numbers_of_steps_are_named(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE, steps=9), config="a")
    add_cell(tmp_path, "norm", gains(1, 1, 1, 1), config="b")
    add_cell(tmp_path, "tent", gains(1, 2, 3, 2), config="c")
    add_cell(tmp_path, "tent", gains(1, 2), config="d")
    (comparison,) = compared(tmp_path)
    notes = dict(build(Evidence(comparison)).notes)
    assert notes["Number of steps"].endswith(
        "Compare only rows with the same number (1: TENT (1 step); 3: Norm, TENT)"
    )
    assert notes["One step"] == "TENT (1 step): a single step is not a curve to measure"
    # a curve of one step is not a constant curve
    assert notes["Dash"].startswith("Norm: ")


def test_only_measures_of_synchrony_have_a_direction() -> None:
    directions = {measure: column.higher_is_better for measure, column in MEASURED.items()}
    assert directions.pop("dtw") is None
    lower = {measure for measure, higher in directions.items() if not higher}
    assert lower == {"step_variance", "peak_spread", "curve_distance"}


def test_differences_to_the_frozen_control(tmp_path: Path) -> None:
    late = gains(0, 0, 0, 10)
    for seed in range(3):
        add_cell(tmp_path, "base", constant(BASE), config=f"b{seed}", seed=seed)
        moving = gains(0, 10, 10, 10) | {"depth": late["depth"]}
        frozen = gains(0, 5 + seed, 10, 10)
        add_cell(tmp_path, "tent", moving, config=f"t{seed}", seed=seed)
        add_cell(tmp_path, "tent", frozen, config=f"f{seed}", seed=seed, control="frozen")
    (comparison,) = compared(tmp_path)
    table = build(Evidence(comparison))
    rows = {row.label: row.cells for row in table.sections[0].rows}
    own, control = rows["tent"]["dtw_scale_free"], rows["tent (frozen)"]["dtw_scale_free"]
    found = rows["tent"]["dtw_scale_free_minus_frozen"]
    assert isinstance(own, Number)
    assert isinstance(control, Number)
    assert isinstance(found, Number)
    assert found.mean == pytest.approx(own.mean - control.mean)
    # depth lags in every seed, and not with weights as they are
    assert (control.mean, found.mark, found.bold) == (pytest.approx(0), "▼", False)
    assert "dtw_scale_free_minus_frozen" not in rows["tent (frozen)"]
    heads = [column.head for column in table.printed]
    assert ("DTW", "− frozen") in heads
    assert ("raw DTW", "− frozen") not in heads
    assert {"− frozen", "Raw"} <= dict(table.notes).keys()


def test_without_frozen_controls_a_note_says_what_is_mixed(tmp_path: Path) -> None:
    add_cell(tmp_path, "tent", gains(0, 1, 2, 3))
    (comparison,) = compared(tmp_path)
    table = build(Evidence(comparison))
    assert "No frozen control" in dict(table.notes)
    assert not any(column.key.endswith("_minus_frozen") for column in table.columns)


def test_flat_tasks_are_named(tmp_path: Path) -> None:
    moving = gains(0, 1, 2, 3)
    add_cell(tmp_path, "tent", moving | {"depth": [0.8, 0.8001, 0.8, 0.8]}, config="a")
    add_cell(tmp_path, "s4t", moving, config="b")
    (comparison,) = compared(tmp_path)
    note = dict(build(Evidence(comparison)).notes)["Flat"]
    assert note.startswith("depth of TENT: changes by at most 0.1 % of its score")
