"""Rows of fewer seeds than others: their notes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from support.generated import generate
from support.synthetic import BASE, add_cell, constant, gains

from ttt_bench import open_results
from ttt_bench.report.notes.reading import interval_notes


def notes_of(root: Path) -> dict[str, str]:
    """Return the notes on the intervals of a folder's only comparison."""
    (evidence,) = open_results(root).evidence
    notes = interval_notes(evidence.comparison, evidence.estimates("fixed"))
    return {note.about: note.text for note in notes}


def test_rows_of_fewer_seeds_are_named(tmp_path: Path) -> None:
    for seed in range(3):
        add_cell(tmp_path, "base", constant(BASE, 1), seed=seed, config=f"b{seed}")
        add_cell(tmp_path, "norm", gains(0, seed), seed=seed, config=f"n{seed}")
    for seed in (0, 2):
        add_cell(tmp_path, "tent", gains(0, 1 + seed), seed=seed, config=f"t{seed}")
    assert notes_of(tmp_path)["Fewer seeds"] == "TENT: seeds 0, 2"


def test_one_seed_covers_images_only(tmp_path: Path) -> None:
    sizes = {"steps": 2, "images": 8, "batch": 4}
    generate(tmp_path, methods=("base", "norm", "tent"), seeds=2, workers=1, **sizes)
    for cell in tmp_path.glob("cells/*/tent-*"):
        if json.loads((cell / "manifest.json").read_text(encoding="utf-8"))["seed"] == 1:
            shutil.rmtree(cell)
    found = notes_of(tmp_path)
    assert found["Fewer seeds"].startswith("TENT, TENT (frozen): seed 0. An interval from one seed")
    assert "1 degree of freedom" in found["Intervals"]


def test_equal_seeds_need_no_note(tmp_path: Path) -> None:
    for seed in range(2):
        add_cell(tmp_path, "base", constant(BASE, 1), seed=seed, config=f"b{seed}")
        add_cell(tmp_path, "norm", gains(0, 1 + seed), seed=seed, config=f"n{seed}")
    assert "Fewer seeds" not in notes_of(tmp_path)
