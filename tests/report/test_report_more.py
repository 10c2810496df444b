"""The metrics that are not primary: values by hand, in every format, and without an effect on the
tables of primary metrics.
"""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support.paths import HISTORIC
from support.synthetic import BASE, CLASSES, add_cell, compared, constant, gains

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report import main_table, more_table
from ttt_bench.report.formats.console import ConsoleTable
from ttt_bench.report.render import Rendered, report, summary_rows
from ttt_bench.report.tables import Number, Table
from ttt_bench.results import store
from ttt_bench.stats import summary
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.synchronisation import sync_frame
from ttt_bench.stats.trajectories import trajectories

SCHEMA_1 = HISTORIC / "schema_1"
# at the last step, tent is 8, 9 and 4 percent better than Base, whose mIoU is 20, 20.2 and 20.4
TENT_MIOU = (20 * 1.08, 20.2 * 1.09, 20.4 * 1.04)


def bold(table: Table, key: str) -> list[bool]:
    """Return whether each row's number in a column is bold."""
    cells = [row.cells[key] for row in table.sections[0].rows]
    return [isinstance(cell, Number) and cell.bold for cell in cells]


def text_of(rendered: Rendered, name: str) -> str:
    """Return the text of a file of the report."""
    return next(path for path in rendered.paths if path.name == name).read_text(encoding="utf-8")


def test_other_metrics_by_hand(comparison: Comparison) -> None:
    found = summary.other_metrics(comparison.rows).set_index(["label", "task", "metric", "class"])
    tent = found.loc[("tent", "semseg", "pixel_accuracy", "")]
    assert tent["mean"] == pytest.approx(2 * sum(TENT_MIOU) / 3)
    assert tent["sd"] == pytest.approx(2 * pd.Series(TENT_MIOU).std())
    assert tent["seeds"] == 3
    # the third metric of its task, the class "lamp" two above the first
    assert found.loc[("s4t", "semseg", "iou", "lamp"), "mean"] == pytest.approx(3 * 24 + 2)
    assert math.isnan(found.loc[("s4t", "semseg", "iou", "lamp"), "sd"])
    assert found.loc[("base", "normals", "within_30", ""), "mean"] == pytest.approx(5 * 40.4)
    assert not set(found.index.get_level_values("metric")) & {"miou", "rmse", "merr"}


def test_tables_have_a_column_a_metric_and_a_column_a_class(comparison: Comparison) -> None:
    more, each = more_table.build(comparison), more_table.build_classes(comparison)
    assert more is not None
    assert each is not None
    assert {column.key: column.higher_is_better for column in more.columns} == {
        "semseg_pixel_accuracy_percent": True,
        "depth_abs_rel": False,
        "depth_delta1_percent": True,
        "normals_median_degrees": False,
        "normals_within_11_25_percent": True,
        "normals_within_22_5_percent": True,
        "normals_within_30_percent": True,
        "edge_ods_f_percent": True,
    }
    assert [column.lines for column in each.columns] == [(name, "IoU % ↑") for name in CLASSES]
    for table in (more, each):
        (section,) = table.sections
        assert [row.label for row in section.rows] == [
            "base",
            "norm",
            "tent",
            "s4t",
            "s4t (mask_ratio=0.5)",
        ]
        assert section.heading == "fixed step"
    base = more.sections[0].rows[0].cells["normals_median_degrees"]
    assert base == Number(mean=pytest.approx(80.8), sd=pytest.approx(0.8), mark="▼")
    notes = dict(more.notes)
    assert notes["normals median"].startswith("median angle")
    assert "depth AbsRel" in notes
    assert "edge ODS F" in notes


def test_better_and_worse_than_base_are_told_in_the_metrics_own_direction(tmp_path: Path) -> None:
    for seed in (0, 1):
        add_cell(tmp_path, "base", constant(BASE), config=f"b{seed}", seed=seed)
        add_cell(tmp_path, "tent", gains(0, 5, 9, 10 + seed), config=f"t{seed}", seed=seed)
    (comparison,) = compared(tmp_path)
    table = more_table.build(comparison)
    assert table is not None
    # normals are 10 % lower, which is better for an angle and worse for a share of pixels
    assert bold(table, "normals_median_degrees") == [False, True]
    assert bold(table, "normals_within_30_percent") == [False, False]
    assert table.sections[0].rows[1].cells["normals_within_30_percent"].mark == "▼"
    assert bold(table, "semseg_pixel_accuracy_percent") == [False, True]
    assert "Bold, ▼" in dict(table.notes)


def test_a_narrow_console_shows_one_metric_a_task_at_least(comparison: Comparison) -> None:
    table = more_table.build(comparison)
    assert table is not None
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(ConsoleTable(table))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "S4T" in text
    shown = text.split("Left out for width")[0]
    assert all(head in shown for head in ("pixel accuracy", "AbsRel", "median", "ODS F"))
    assert "delta1" not in shown


def test_every_format_of_the_report_contains_them(rendered: Rendered) -> None:
    frame = pd.read_csv(next(p for p in rendered.paths if p.name == "more.csv")).set_index("method")
    assert frame.loc["tent", "semseg_pixel_accuracy_percent"] == pytest.approx(
        2 * sum(TENT_MIOU) / 3
    )
    assert frame.loc["tent", "semseg_pixel_accuracy_percent_sd"] == pytest.approx(
        2 * pd.Series(TENT_MIOU).std()
    )
    each = pd.read_csv(next(p for p in rendered.paths if p.name == "each_class.csv")).set_index(
        "method"
    )
    assert each.loc["base", "iou_percent_box"] == pytest.approx(3 * 20.2 + 1)
    assert "normals < 11.25° % ↑" in text_of(rendered, "more.md")
    latex = text_of(rendered, "more.tex")
    assert "$<$~11.25$^\\circ$~\\%" in latex
    assert latex.isascii()
    page = rendered.page.read_text(encoding="utf-8")
    assert ">More metrics</h3>" in page
    assert "pixel accuracy % ↑" in page
    assert ">Scores of each class</h3>" in page


def test_json_names_task_metric_and_class(results: Path) -> None:
    records = summary_rows(results)
    json.dumps(records, allow_nan=False)
    fixed = [r for r in records if r["selection"] == "fixed" and not r["reference"]]
    found = {(r["label"], r["task"], r["metric"], r["class"]): r for r in fixed}
    assert found["tent", "semseg", "miou", None]["mean"] == pytest.approx(sum(TENT_MIOU) / 3)
    assert found["tent", "semseg", "pixel_accuracy", None]["mean"] == pytest.approx(
        2 * sum(TENT_MIOU) / 3
    )
    assert found["tent", "semseg", "iou", "box"]["mean"] == pytest.approx(sum(TENT_MIOU) + 1)
    assert found["tent", "semseg", "iou", "box"]["quantity"] == "iou"
    assert found["s4t", "edge", "ods_f", None]["sd"] is None
    names = {
        (r["selection"], r["label"], r["reference"], r["quantity"], r["class"], r["seed"])
        for r in records
    }
    assert len(names) == len(records)
    assert {r["selection"] for r in records if r["metric"] == "ods_f"} == {"fixed"}


def test_quantities_of_primary_metrics_do_not_depend_on_the_others(comparison: Comparison) -> None:
    primary = comparison.rows[comparison.rows["metric"].isin(["miou", "rmse", "merr"])]
    shuffled = comparison.rows.sample(frac=1, random_state=0)
    for build in (
        lambda rows: summary.curve_frame(summary.score_frame(rows), "base"),
        lambda rows: sync_frame(trajectories(summary.score_frame(rows), "base")),
    ):
        pd.testing.assert_frame_equal(build(shuffled), build(primary))


def test_results_of_schema_version_1_make_the_tables_that_they_made(tmp_path: Path) -> None:
    done = report(SCHEMA_1, tmp_path)
    names = {path.name for path in done.paths}
    assert {"main.csv", "sync.csv", "curves.csv"} <= names
    assert not {"more.csv", "each_class.csv"} & names
    main = pd.read_csv(next(path for path in done.paths if path.name == "main.csv")).set_index(
        ["selection", "method"]
    )
    # seed 0, as the page of the example has it
    assert main.loc[("fixed", "base"), "semseg_miou_percent"] == pytest.approx(40.67, abs=0.005)
    assert main.loc[("fixed", "norm"), "delta_ttt_percent"] == pytest.approx(12.27, abs=0.005)
    assert "More metrics" not in done.page.read_text(encoding="utf-8")


def test_old_cells_next_to_new_ones_have_no_row_in_the_new_tables(tmp_path: Path) -> None:
    shutil.copytree(SCHEMA_1, tmp_path, dirs_exist_ok=True)
    ((_, old), *_) = store.cells(SCHEMA_1)
    names = ("pair", "preset", "protocol", "data_variant", "hparams", "settings")
    shared = {name: old[name] for name in names}
    manifest = {"comparison": old["comparison"]}
    add_cell(tmp_path, "tent", gains(1, 2, 3), manifest=manifest, **shared)
    (comparison,) = compared(tmp_path)
    assert comparison.labels[:2] == ["base", "norm"]
    table = more_table.build(comparison)
    assert table is not None
    assert [row.label for row in table.sections[0].rows] == [comparison.labels[2]]
    assert len(main_table.build(Evidence(comparison), {}).table.sections[0].rows) == 3
