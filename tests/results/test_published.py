"""The published numbers, and the flags that an audit put on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.synthetic import add_cell, compared, constant, gains

from ttt_bench.report import main_table
from ttt_bench.report.formats.csv_text import to_csv
from ttt_bench.report.tables import Number
from ttt_bench.results import published

PAIRS = ("taskonomy:nyud", "taskonomy:pascal", "nyud:taskonomy", "pascal:taskonomy")
NYUD_BASE = {"semseg": 29.31, "depth": 1.179, "normals": 61.32, "edge": 0.1443}


@pytest.mark.parametrize("pair", PAIRS)
def test_ten_rows_per_pair_and_base_at_zero(pair: str) -> None:
    table = published.for_pair(pair)
    assert table is not None
    assert len(table.rows) == 10
    base = table.row("base")
    assert base is not None
    assert (base.delta[0], base.recomputed, base.flag) == (0.0, 0.0, "")
    assert len(base.scores) == (4 if "nyud" in pair else 3)


def test_two_rows_differ_by_more_than_a_tenth_and_four_are_flagged() -> None:
    tables = [table for pair in PAIRS if (table := published.for_pair(pair))]
    rows = {(table.pair, row.method): row for table in tables for row in table.rows}
    far = {key for key, row in rows.items() if abs(row.delta[0] - row.recomputed) > 0.1}
    assert far == {("taskonomy:pascal", "tttflow"), ("pascal:taskonomy", "tent")}
    assert {key for key, row in rows.items() if row.flag} == set(published.CAUSES)
    flag = rows["taskonomy:pascal", "tttflow"].flag
    assert flag == "printed 27.97, the printed means give 24.96: cause unknown (a digit?)"
    assert "-18.48" in rows["pascal:taskonomy", "tent"].flag


def test_the_papers_main_row() -> None:
    table = published.for_pair("taskonomy:nyud")
    assert table is not None
    assert table.name == "TR-TTT, Table 1"
    s4t = table.row("s4t")
    assert s4t is not None
    assert s4t.scores["semseg"] == (59.37, 0.152)
    assert s4t.delta == (34.94, 0.008)
    assert s4t.recomputed == pytest.approx(34.886, abs=1e-3)


def test_other_pairs_have_no_published_numbers() -> None:
    assert published.for_pair("rooms:rooms-mix") is None
    assert published.for_pair("taskonomy:rooms") is None


def test_published_numbers_are_next_to_measured_ones(tmp_path: Path) -> None:
    common = {"pair": "taskonomy:pascal", "preset": "paper"}
    base = {"semseg": 27.0, "normals": 63.0, "edge": 0.118}
    add_cell(tmp_path, "base", constant(base), config="a", **common)
    add_cell(tmp_path, "tttflow", gains(1, 2, 3, 2, base=base), config="b", **common)
    (comparison,) = compared(tmp_path)
    table = main_table.build(comparison, {}).table
    sections = {
        section.key: {row.label: row.cells for row in section.rows} for section in table.sections
    }
    assert sections["oracle"]["tttflow"]["published_delta_ttt_percent"] == Number(
        mean=27.97, sd=0.684, mark="†"
    )
    assert sections["oracle"]["tttflow"]["delta_ttt_percent"] == Number(mean=pytest.approx(3.0))
    assert "published_delta_ttt_percent" not in sections["fixed"]["tttflow"]
    # the methods that were run, and no others
    assert list(sections["published"]) == ["base", "tttflow"]
    assert sections["published"]["tttflow"]["semseg_miou_percent"] == Number(mean=38.73, sd=0.245)
    assert any(about == "† Published" and "24.96" in text for about, text in table.notes)
    assert any("bottle" in text for _, text in table.notes)
    assert "published_delta_ttt_recomputed_percent" in to_csv(table).splitlines()[0]


def source_note(root: Path, steps: int, **identity: str) -> str:
    """Return the note on the published table, next to a run of tent."""
    add_cell(root, "base", constant(NYUD_BASE), pair="taskonomy:nyud", config="a", **identity)
    add_cell(
        root, "tent", constant(NYUD_BASE, steps), pair="taskonomy:nyud", config="b", **identity
    )
    (comparison,) = compared(root)
    notes = main_table.build(comparison, {}).table.notes
    return next(text for about, text in notes if about == "Published" and "as printed" in text)


def test_a_run_as_published_needs_no_caveat(tmp_path: Path) -> None:
    text = source_note(tmp_path, 40, preset="paper", data_variant="official", protocol="online")
    assert text.endswith("at the step with the best average Delta_TTT")


def test_corrected_data_are_named_as_a_difference(tmp_path: Path) -> None:
    text = source_note(tmp_path, 40, preset="paper", protocol="online")
    assert text.endswith(
        ". This run differs from the published ones: its data handling is corrected, not official. "
        "A difference between the numbers may have another cause than the methods"
    )


def test_every_difference_from_the_published_runs_is_named(tmp_path: Path) -> None:
    text = source_note(
        tmp_path, 20, preset="smoke", hparams="original", settings="model.batch=4; data.size=64"
    )
    for clause in (
        "preset is smoke, not paper;",
        "data handling is corrected, not official;",
        "protocol is episodic, not online;",
        "set of hyperparameters is original, not paper;",
        "settings were changed (model.batch=4, data.size=64);",
        "methods adapt for 20 steps, not 40.",
    ):
        assert clause in text
    assert text.endswith("Its numbers and the published ones are not comparable")
