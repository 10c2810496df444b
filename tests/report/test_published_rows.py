"""Published numbers next to measured ones: the values shown, and the differences named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.synthetic import add_cell, compared, constant

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.report import main_table
from ttt_bench.report.formats.cells import printed
from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.records import records
from ttt_bench.report.tables import Cell, Column, Number, Table
from ttt_bench.stats.comparison import Comparison

NYUD_BASE = {"semseg": 29.31, "depth": 1.179, "normals": 61.32, "edge": 0.1443}
AS_PUBLISHED = {
    "preset": "paper",
    "data_variant": "official",
    "protocol": "online",
    "manifest": {"provenance": {"device": "NVIDIA RTX A6000"}},
}
TWO = Column(key="two", head=("two",))
FOUR = Column(key="four", head=("four",), decimals=4)
TARGETS = {"taskonomy:nyud": 654, "taskonomy:pascal": 5105, "nyud:taskonomy": 5451}


def run(
    root: Path, *cells: tuple[str, str], pair: str = "taskonomy:nyud", **identity: Any
) -> Comparison:
    """Write Base and cells (method, settings), and return their comparison.

    It is like the published runs but for `identity`; `tasks` names the measured tasks.
    """
    steps = identity.pop("steps", 40)
    tasks = identity.pop("tasks", tuple(NYUD_BASE))
    scores = constant({task: NYUD_BASE[task] for task in tasks}, steps)
    identity.setdefault("images", TARGETS.get(pair, 654))
    shared = {"pair": pair, **AS_PUBLISHED, **identity}
    common = shared.pop("settings", "")
    for index, (method, own) in enumerate([("base", ""), *cells]):
        settings = "; ".join(filter(None, [own, common]))
        add_cell(root, method, scores, config=f"c{index}", settings=settings, **shared)
    (comparison,) = compared(root)
    return comparison


def rows_of(table: Table) -> dict[str, dict[str, dict[str, Cell]]]:
    """Map section to label to the cells of its row."""
    return {
        section.key: {row.label: row.cells for row in section.rows} for section in table.sections
    }


def texts(comparison: Comparison, about: str = "Published") -> list[str]:
    notes = main_table.build(Evidence(comparison), {}).table.notes
    return [text for subject, text in notes if subject == about]


def test_a_row_has_its_printed_numbers_with_every_digit(tmp_path: Path) -> None:
    table = main_table.build(Evidence(run(tmp_path, ("s4t", ""))), {}).table
    rows = rows_of(table)
    assert list(rows["published"]) == ["base", "s4t [TR-TTT (ours)]"]
    cell = rows["oracle"]["s4t"]["published_delta_ttt_percent"]
    assert cell == rows["published"]["s4t [TR-TTT (ours)]"]["delta_ttt_percent"]
    assert printed(cell, TWO)[:2] == ("34.94", "±0.008")
    edge = rows["published"]["s4t [TR-TTT (ours)]"]["edge_rmse"]
    assert printed(edge, FOUR)[:2] == ("0.1441", "±5.1e-05")
    assert "published_delta_ttt_percent" not in rows["fixed"]["s4t"]
    assert "published_delta_ttt_recomputed_percent" in to_csv(table).splitlines()[0]


def test_a_mean_has_no_fewer_digits_than_in_the_paper(tmp_path: Path) -> None:
    rows = rows_of(main_table.build(Evidence(run(tmp_path, ("actmad", ""))), {}).table)
    cell = rows["oracle"]["actmad"]["published_delta_ttt_percent"]
    assert printed(cell, TWO)[:2] == ("0.203", "±1.256")


def test_without_edge_delta_is_recomputed_on_the_same_tasks(tmp_path: Path) -> None:
    comparison = run(tmp_path, ("s4t", ""), tasks=("semseg", "depth", "normals"))
    table = main_table.build(Evidence(comparison), {}).table
    rows = rows_of(table)
    expected = 100 * ((59.37 / 29.31 - 1) + (1 - 1.052 / 1.179) + (1 - 45.33 / 61.32)) / 3
    cell = Number(mean=pytest.approx(expected))
    assert rows["oracle"]["s4t"]["published_delta_ttt_on_these_tasks_percent"] == cell
    assert rows["published"]["s4t [TR-TTT (ours)]"]["delta_ttt_percent"] == cell
    assert "published_delta_ttt_percent" not in to_csv(table)
    (section,) = (section for section in table.sections if section.key == "published")
    assert section.detail == "TR-TTT, Table 1; Delta_TTT recomputed on semseg, depth, normals"
    origin, *others = texts(comparison)
    assert (
        "its tasks are semseg, depth, normals (published: semseg, depth, normals, edge)" in origin
    )
    assert origin.endswith("Its numbers and the published ones are not comparable")
    assert any("over semseg, depth, normals, edge (S4T 34.94)" in text for text in others)


def test_the_column_without_edge_has_its_published_twin(tmp_path: Path) -> None:
    rows = rows_of(main_table.build(Evidence(run(tmp_path, ("tipi", ""))), {}).table)
    expected = 100 * ((48.12 / 29.31 - 1) + (1 - 1.029 / 1.179) + (1 - 55.71 / 61.32)) / 3
    cell = rows["published"]["tipi"]["delta_ttt_without_edge_percent"]
    assert cell == Number(mean=pytest.approx(expected))


def test_doubtful_numbers_have_a_mark_and_a_note(tmp_path: Path) -> None:
    tasks = ("semseg", "normals", "edge")
    comparison = run(tmp_path, ("tent", ""), ("tttflow", ""), pair="taskonomy:pascal", tasks=tasks)
    rows = rows_of(main_table.build(Evidence(comparison), {}).table)
    for label in ("tent", "tttflow"):
        cell = rows["oracle"][label]["published_delta_ttt_percent"]
        assert isinstance(cell, Number)
        assert cell.mark == "†"
    spread, delta = texts(comparison, "† Published")
    assert spread.startswith("TENT: ± 0.004 is printed for Delta_TTT.")
    assert delta.startswith("TTTFlow: printed 27.97, the printed means give 24.96")
    assert any("bottle" in text for text in texts(comparison))


def test_spreads_of_the_other_paper_are_named_by_row(tmp_path: Path) -> None:
    comparison = run(tmp_path, ("ttt", ""), ("tent", ""), pair="nyud:taskonomy")
    (other,) = (text for text in texts(comparison) if "prints other" in text)
    assert other == (
        "TR-TTT, Table 6 prints other standard deviations for the same means: Base semseg ± 1.58 "
        "(shown: ± 0.0158), Base normals ± 0.12 (shown: ± 0.012), TENT semseg ± 1.2 (shown: "
        "± 0.012)"
    )
    more = "TR-TTT, Table 6 also prints standard deviations of Delta_TTT: TENT ± 0.23, TTT ± 0.572"
    assert more in texts(comparison)
    assert any("TTT (TR-TTT, Table 6): ± 0.572" in text for text in texts(comparison))
    assert not any("TR-TTT (ours)" in text for text in texts(comparison))


def test_the_slip_in_bases_edge_is_named(tmp_path: Path) -> None:
    expected = "Base edge ± 0.00071 (shown: ± 7.1e-05)"
    assert any(
        text.startswith("S4T, Table 5 prints") and expected in text
        for text in texts(run(tmp_path, ("s4t", "")))
    )


def test_spreads_of_tasks_that_were_not_measured_are_not_named(tmp_path: Path) -> None:
    comparison = run(tmp_path, ("s4t", ""), tasks=("semseg", "depth", "normals"))
    assert not any("prints other" in text for text in texts(comparison))


def test_a_run_as_published_needs_no_caveat(tmp_path: Path) -> None:
    origin, name, *_ = texts(run(tmp_path, ("s4t", "")))
    assert origin == (
        "TR-TTT, Table 1: mean ± standard deviation as printed, at the step with the best average "
        "Delta_TTT; the papers do not say how many runs a standard deviation is over"
    )
    assert name == (
        "S4T is the row TR-TTT (ours) of TR-TTT, Table 1. TR-TTT is the earlier version of S4T"
    )


def test_corrected_data_are_named_as_a_difference(tmp_path: Path) -> None:
    origin = texts(run(tmp_path, ("tent", ""), data_variant="corrected"))[0]
    assert origin.endswith(
        ". This run differs from the published ones: its data handling is corrected, not official. "
        "A difference between the numbers may have another cause than the methods"
    )


def test_every_difference_from_the_published_runs_is_named(tmp_path: Path) -> None:
    origin = texts(
        run(
            tmp_path,
            ("tent", ""),
            preset="smoke",
            protocol="episodic",
            data_variant="corrected",
            hparams="original",
            settings="model.batch=4; data.size=64",
            steps=20,
            images=40,
            tasks=("semseg", "depth"),
            manifest={"provenance": {"device": "cpu"}},
        )
    )[0]
    for clause in (
        "preset is smoke, not paper;",
        "data handling is corrected, not official;",
        "protocol is episodic, not online;",
        "set of hyperparameters is original, not paper;",
        "its tasks are semseg, depth (published: semseg, depth, normals, edge);",
        "settings were changed (model.batch=4, data.size=64);",
        "it has 40 target images, not 654;",
        "methods adapt for 20 steps, not 40;",
        "its device is cpu (S4T names an RTX A6000, for its times).",
    ):
        assert clause in origin
    assert origin.endswith("Its numbers and the published ones are not comparable")


def test_fewer_images_alone_are_not_comparable(tmp_path: Path) -> None:
    origin = texts(run(tmp_path, ("tent", ""), images=40))[0]
    assert origin.endswith(
        "it has 40 target images, not 654. Its numbers and the published ones are not comparable"
    )


def test_a_target_with_noise_has_the_published_delta(tmp_path: Path) -> None:
    comparison = run(tmp_path, ("s4t", ""), ("tent", ""), pair="taskonomy:nyud+gaussian_noise@0.1")
    rows = rows_of(main_table.build(Evidence(comparison), {}).table)
    cell = rows["oracle"]["s4t"]["published_delta_ttt_percent"]
    assert isinstance(cell, Number)
    assert (cell.mean, cell.sd) == (32.15, None)
    assert list(rows["published"]) == ["s4t"]
    assert "published_delta_ttt_percent" not in rows["oracle"]["tent"]
    assert texts(comparison) == [
        "S4T, Table 2: Delta_TTT as printed, at the step with the best average Delta_TTT"
    ]


def test_a_delta_without_means_is_not_shown_for_other_tasks(tmp_path: Path) -> None:
    pair = "taskonomy:nyud+gaussian_noise@0.4"
    comparison = run(tmp_path, ("s4t", ""), pair=pair, tasks=("semseg", "depth"))
    table = main_table.build(Evidence(comparison), {}).table
    assert "published" not in to_csv(table).splitlines()[0]
    assert "published" not in rows_of(table)
    assert any(text.endswith("the means of semseg, depth: S4T 19.73") for text in texts(comparison))


def test_ablations_have_their_published_numbers(tmp_path: Path) -> None:
    cells = [
        *(("s4t", ""), ("s4t", "s4t.masking=disjoint"), ("s4t", "s4t.masking=tasks")),
        ("s4t", "s4t.mask_ratio=0.0; s4t.projection=shared"),
        ("s4t", "s4t.lambda_tp=0.5; s4t.masking=disjoint"),
    ]
    comparison = run(tmp_path, *cells)
    rows = rows_of(main_table.build(Evidence(comparison), {}).table)
    shown = {
        label: cells["published_delta_ttt_percent"].mean
        for label, cells in rows["oracle"].items()
        if isinstance(cells.get("published_delta_ttt_percent"), Number)
    }
    assert shown == {
        "base": 0.0,
        "s4t": 34.94,
        "s4t (masking=disjoint)": 32.56,
        "s4t (mask_ratio=0.0, projection=shared)": 26.16,
    }
    assert "s4t (masking=disjoint) [TR-TTT, Table 4]" in rows["published"]
    notes = texts(comparison)
    assert "S4T (masking=disjoint) is the row masking=not_overlap of TR-TTT, Table 4" in notes
    assert any("33.06" in text and "how many" in text for text in notes)
    assert any("in a figure only" in text for text in notes)


def test_networks_of_one_task_have_their_published_score(tmp_path: Path) -> None:
    comparison = run(tmp_path, ("s4t", "s4t.tasks=single:edge"))
    rows = rows_of(main_table.build(Evidence(comparison), {}).table)["published"]
    cells = rows["s4t (tasks=single:edge) [S4T, Table 5]"]
    assert list(cells) == ["edge_rmse"]
    assert printed(cells["edge_rmse"], FOUR)[:2] == ("0.1444", "±1.9e-05")
    assert any("reversed pair" in text for text in texts(comparison))


def test_frozen_controls_and_other_pairs_have_no_published_number(tmp_path: Path) -> None:
    frozen = run(tmp_path / "frozen", ("s4t", ""), control="frozen")
    rows = rows_of(main_table.build(Evidence(frozen), {}).table)
    assert "published_delta_ttt_percent" not in rows["oracle"]["s4t (frozen)"]
    other = main_table.build(
        Evidence(run(tmp_path / "other", ("s4t", ""), pair="rooms:rooms-mix")), {}
    )
    assert "published" not in to_csv(other.table)
    assert not any(about == "Published" for about, _ in other.table.notes)


def test_published_numbers_are_records(tmp_path: Path) -> None:
    comparison = run(tmp_path, ("tent", ""))
    found = {
        (record["label"], record["quantity"]): record
        for record in records(Evidence(comparison))
        if record["selection"] == "published"
    }
    semseg = found["tent", "semseg"]
    assert (semseg["mean"], semseg["sd"], semseg["metric"]) == (40.42, 1.09, "miou")
    assert semseg["source"] == "TR-TTT, Table 1"
    assert (found["tent", "delta_ttt"]["mean"], found["tent", "delta_ttt"]["sd"]) == (14.26, 0.02)
    changes = (40.42 / 29.31 - 1, 1 - 1.056 / 1.179, 1 - 56.09 / 61.32, 1 - 0.1441 / 0.1443)
    again = found["tent", "delta_ttt_recomputed"]["mean"]
    assert again == pytest.approx(100 * sum(changes) / 4)
    no_edge = found["tent", "delta_ttt_no_edge"]["mean"]
    assert no_edge == pytest.approx(100 * sum(changes[:3]) / 3)
    assert all(record["pair"] == "taskonomy:nyud" for record in found.values())
