"""Runs on data roots with names that are not UTF-8, several layouts, or without splits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.command import call, refused
from support.files import nyud_files, taskonomy_files

from ttt_bench import read_results
from ttt_bench.results import store

LATIN = os.fsdecode(b"r\xe4ume")  # as another system wrote it


def arguments(root: Path, results: Path, pair: str) -> tuple[str, ...]:
    where = ("--data-root", str(root), "--results", str(results), "--device", "cpu")
    return ("--pair", pair, "--preset", "smoke", "--methods", "base", *where)


def test_names_that_are_not_utf8_run_and_are_reported(tmp_path: Path) -> None:
    root, results = tmp_path / LATIN, tmp_path / "results"
    taskonomy_files.write(root / "taskonomy", [LATIN])
    (taskonomy_files.folder_of(root / "taskonomy", "A", LATIN, "rgb") / LATIN).touch()
    done = call("run", *arguments(root, results, "rooms:taskonomy"))
    assert done.returncode == 0, done.stderr
    assert len(read_results(results)) > 0
    ((_, manifest),) = store.cells(results)
    (ignored,) = (notice for notice in manifest["notices"] if "ignored 1 files" in notice)
    assert r"r\udce4ume" in ignored


@pytest.mark.parametrize("pair", ["taskonomy:taskonomy", "taskonomy:taskonomy+fog@s3"])
def test_frames_without_splits_are_not_trained_and_tested_on(tmp_path: Path, pair: str) -> None:
    taskonomy_files.write(tmp_path / "taskonomy", ["house"])
    message = refused("run", *arguments(tmp_path, tmp_path / "results", pair))
    assert "share 4 images (house/point_0_view_0, house/point_0_view_1" in message


def test_the_list_to_choose_settings_on_is_not_trained_on(tmp_path: Path) -> None:
    nyud_files.write(tmp_path / "nyud")
    tune = ("--set", "data.target_split=tune")
    message = refused("run", *arguments(tmp_path, tmp_path / "results", "nyud:nyud"), *tune)
    assert "share 3 images (0003, 0004b, n5)" in message
