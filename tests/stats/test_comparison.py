"""Comparisons: cells that share a table, their labels, and the choice between duplicates."""

from __future__ import annotations

from pathlib import Path

from support.synthetic import BASE, add_cell, compared, constant, gains

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.config.reading import parse_setting
from ttt_bench.report import main_table, sync_table
from ttt_bench.results.load import load
from ttt_bench.stats.comparison import Comparison, comparisons, method_rank, split_settings


def test_rows_and_labels(comparison: Comparison) -> None:
    assert comparison.labels == ["base", "norm", "tent", "tipi", "s4t", "s4t (mask_ratio=0.5)"]
    assert comparison.base == "base"
    assert comparison.tasks == ("semseg", "depth", "normals", "edge")
    assert comparison.notes == ()
    assert comparison.key == ("rooms:rooms-mix", "quick", "episodic", "corrected", "paper", "", "")


def test_settings_split_by_owner() -> None:
    assert split_settings("", "tent") == ("", "")
    assert split_settings("batch=4; tent.lr=0.1; tent.momentum=0.9", "tent") == (
        "batch=4",
        "lr=0.1; momentum=0.9",
    )
    # ttt is the beginning of tttpp's name
    assert split_settings("tttpp.weight=1; steps=3", "ttt") == ("tttpp.weight=1", "")
    assert split_settings("ttt.steps=3", "ttt") == ("", "")


def test_lists_of_names_are_shown_as_set_takes_them(tmp_path: Path) -> None:
    text = "batch=4; data.sizes.east=[32, 48]; data.tasks=['semseg', 'depth']; own.layers=['a1']"
    shown = "batch=4; data.sizes.east=[32, 48]; data.tasks=semseg,depth"
    assert split_settings(text, "own") == (shown, "layers=a1")
    assert parse_setting("data.tasks=semseg,depth") == ("data.tasks", "semseg,depth")
    # a network may have any options: --set takes them as TOML alone
    assert split_settings("model.architecture_args.a=['b', 'c']", "own")[0].endswith("['b', 'c']")
    add_cell(tmp_path, "base", constant(BASE), config="a", settings="data.tasks=['depth', 'edge']")
    (found,) = compared(tmp_path)
    assert found.subtitle.endswith("data variant corrected, data.tasks=depth,edge")


def test_shared_choices_separate_and_own_ones_do_not(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="a")
    add_cell(tmp_path, "tent", gains(1, 2, 3, 4), config="b")
    add_cell(tmp_path, "tent", gains(1, 2, 3, 4), config="c", settings="tent.lr=0.1")
    add_cell(tmp_path, "tent", gains(1, 2), config="d")
    add_cell(tmp_path, "tent", gains(1, 1, 1, 1), config="e", control="frozen")
    for config, other in {
        "f": {"protocol": "online"},
        "g": {"preset": "smoke"},
        "h": {"hparams": "original"},
        "i": {"data_variant": "official"},
        "j": {"settings": "batch=4"},
        "k": {"pair": "rooms:rooms-light"},
    }.items():
        add_cell(tmp_path, "tent", gains(1, 2, 3, 4), config=config, **other)
    found = compared(tmp_path)
    assert len(found) == 7
    assert len({comparison.slug for comparison in found}) == 7
    (main,) = (comparison for comparison in found if comparison.base)
    assert main.labels == ["base", "tent", "tent (1 step)", "tent (frozen)", "tent (lr=0.1)"]


def test_the_newest_of_two_cells_is_shown_and_the_other_named(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="zz")
    # in time, not in name; the zones differ: 11:30+02:00 is before 10:00 UTC
    add_cell(
        tmp_path, "tent", gains(0, 1, 1, 1), config="new", finished="2025-01-02T10:00:00+00:00"
    )
    add_cell(
        tmp_path, "tent", gains(0, 9, 9, 9), config="old", finished="2025-01-02T11:30:00+02:00"
    )
    (comparison,) = compared(tmp_path)
    assert comparison.rows.query("label == 'tent'")["config"].unique().tolist() == ["new"]
    (note,) = comparison.notes
    assert note.startswith("TENT, seed 0: 2 cells")
    assert "configuration new" in note
    assert note.endswith("left out: old")


def test_the_cell_of_a_run_is_shown_in_place_of_a_newer_one(tmp_path: Path) -> None:
    """Show the cell of the code as it is now, after an edit was taken back."""
    add_cell(tmp_path, "tent", gains(0, 1), config="now", finished="2025-01-02T10:00:00+00:00")
    add_cell(tmp_path, "tent", gains(0, 9), config="edit", finished="2025-01-03T10:00:00+00:00")
    loaded = load(tmp_path)
    (newest,) = comparisons(loaded.cells, loaded.rows)
    (wanted,) = comparisons(loaded.cells, loaded.rows, ["now"])
    assert newest.rows["config"].unique().tolist() == ["edit"]
    assert wanted.rows["config"].unique().tolist() == ["now"]
    assert "That of this run is shown, configuration now" in wanted.notes[0]


def test_base_with_other_steps_is_the_same_base(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE, steps=3), config="a")
    add_cell(tmp_path, "base", constant(BASE, steps=9), config="b")
    add_cell(tmp_path, "tent", gains(1, 2, 3, 4), config="c")
    (comparison,) = compared(tmp_path)
    assert comparison.labels == ["base", "tent"]
    assert comparison.notes == ()


def test_frozen_base_serves_where_the_plain_one_is_missing(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="a", control="frozen")
    add_cell(tmp_path, "tent", gains(1, 2, 3, 4), config="b", control="frozen")
    (comparison,) = compared(tmp_path)
    assert comparison.base == "base (frozen)"


def test_other_data_or_source_models_are_separate_comparisons(tmp_path: Path) -> None:
    add_cell(tmp_path, "base", constant(BASE), config="a", manifest={"comparison": "aaaaaabbbb"})
    add_cell(tmp_path, "tent", gains(1, 2, 3, 4), config="b", manifest={"comparison": "aaaaaabbbb"})
    # a newer one of the same name neither replaces the other nor uses its Base
    add_cell(
        tmp_path, "tent", gains(1, 1, 1, 1), config="c", manifest={"comparison": "ccccccdddd"},
        finished="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    add_cell(tmp_path, "tent", gains(1, 2, 3, 4), config="d")
    add_cell(
        tmp_path,
        "tent",
        gains(1, 2, 3, 4),
        config="e",
        preset="smoke",
        manifest={"comparison": "eeeeeeffff"},
    )
    unknown, first, second, alone = compared(tmp_path)
    assert first.labels == ["base", "tent"]
    assert (first.base, second.base, first.notes, second.notes) == ("base", None, (), ())
    assert [c.slug[-7:] for c in (unknown, first, second)] == ["unknown", "_aaaaaa", "_cccccc"]
    assert first.subtitle.endswith(", data and source model aaaaaa")
    for table in (main_table.build(Evidence(first), {}).table, sync_table.build(Evidence(first))):
        note = dict(table.notes)["Not comparable"]
        assert note.startswith(
            "the folder has other comparisons of the same names "
            "(unknown, cccccc; this one is aaaaaa)"
        )
    # a comparison with a unique name needs no short hash
    assert "eeeeee" not in alone.slug + alone.subtitle
    assert "Not comparable" not in dict(main_table.build(Evidence(alone), {}).table.notes)


def test_unknown_methods_follow_the_papers() -> None:
    names = ["zeta", "s4t", "alpha", "base", "tent"]
    assert sorted(names, key=method_rank) == ["base", "tent", "s4t", "alpha", "zeta"]
