"""Results of several folders become one set, with notes about what differs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.folders import drop_statistics
from support.synthetic import BASE, add_cell, constant, gains

from ttt_bench import open_results

CPU = {"provenance": {"device": "cpu", "threads": 2}}
GPU = {"provenance": {"device": "NVIDIA H200", "threads": 2}}
LATER = "2025-01-02T10:00:00+00:00"


def folder(root: Path, *gain: float, **cell: Any) -> Path:
    """Write base and tent, which has these gains, and return the folder."""
    shared = {"manifest": CPU, **cell}
    add_cell(root, "base", constant(BASE), **shared)
    add_cell(root, "tent", gains(*gain), **shared)
    return root


def deltas(*paths: Path) -> dict[str, float]:
    """Return Delta_TTT of each row at the last step."""
    frame = open_results(*paths).delta()
    return dict(zip(frame["label"], frame["delta_ttt"], strict=True))


def test_equal_cells_are_used_once(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", 0, 1, 2, 3)
    second = tmp_path / "b"
    shutil.copytree(first, second)
    results = open_results(first, second)
    assert len(results.cells) == 2
    assert results.notes == (
        "2 cells are in several folders with equal scores; one of each is used",
    )
    assert results.rows.equals(open_results(first).rows)


def test_of_copies_the_one_with_statistics_is_used(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", 0, 1, 2, 3)
    second = tmp_path / "b"
    shutil.copytree(first, second)
    drop_statistics(first)
    for paths in ((first, second), (second, first)):
        used = open_results(*paths).cells["folder"]
        assert used.str.startswith(str(second)).all()


@pytest.mark.parametrize("newest_first", [False, True])
def test_of_different_cells_the_newest_is_used(tmp_path: Path, newest_first: bool) -> None:
    first = folder(tmp_path / "a", 0, 1, 2, 3)
    second = folder(tmp_path / "b", 0, 1, 2, 5, manifest=GPU, finished=LATER)
    paths = (second, first) if newest_first else (first, second)
    assert deltas(*paths)["tent"] == pytest.approx(5)
    notes = open_results(*paths).notes
    # tent differs by 2 % of Base at the last step; Base is equal
    assert any(
        "1 cell is in several folders with different scores (TENT seed 0)" in note
        and "semseg 0.4, depth 0.016, normals 0.8, edge 0.004" in note
        for note in notes
    )
    assert any(note.startswith("1 cell is in several folders with equal scores") for note in notes)


def test_a_changed_copy_is_noted(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", 0, 1, 2, 3)
    second = folder(tmp_path / "b", 0, 1, 2, 5)
    assert any("one was changed afterwards" in note for note in open_results(first, second).notes)
    newer = folder(tmp_path / "c", 0, 1, 2, 5, finished=LATER)
    assert not any("changed" in note for note in open_results(first, newer).notes)


def test_conditions_that_differ_are_noted_with_their_folders(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", 0, 1, 2, 3)
    second = folder(tmp_path / "b", 0, 1, 2, 3, manifest=GPU, seed=1, config="c1")
    notes = open_results(first, second).notes
    assert notes == (
        f"device differs between the folders: cpu in {first}; NVIDIA H200 in {second}",
    )
    assert sorted(open_results(first, second).delta(per="seed")["seed"].unique()) == [0, 1]


def test_a_cell_with_numbers_replaces_a_later_one_without(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", 0, 1, 2, 3)
    add_cell(tmp_path / "b", "tent", state="failed", reason="disk full", finished=LATER)
    assert deltas(first, tmp_path / "b")["tent"] == pytest.approx(3)


def test_other_data_of_the_same_names_are_kept_apart_and_named(tmp_path: Path) -> None:
    made = []
    for name, images in (("a", 128), ("b", 64)):
        configuration = {"target_images": images, "target": f"hash{images}", "steps": images}
        manifest = {**CPU, "comparison": f"{name}{images}", "configuration": configuration}
        made.append(folder(tmp_path / name, 0, 1, 2, 3, manifest=manifest, config=name))
    results = open_results(*made)
    assert len(results.comparisons) == 2
    (note,) = results.notes
    assert "rooms:rooms-mix, quick, episodic, corrected, paper: 2 comparisons" in note
    assert "target_images is 128 and 64" in note
    assert "target is hash128 and hash64" in note
    assert "steps" not in note


def test_a_folder_given_twice_counts_once(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", 0, 1, 2, 3)
    results = open_results(first, first)
    assert results.paths == (first,)
    assert results.notes == ()
