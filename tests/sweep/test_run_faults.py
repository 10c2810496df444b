"""Damaged, lost and left-over files in the results folder of a run."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from support.command import Signalling
from support.notices import Notices
from support.runs import interrupt, plan, run
from support.toy import Toy

from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.sweep.runner import Runner
from ttt_bench.util import tensor_file
from ttt_bench.util.progress import Silent


@pytest.mark.parametrize("name", ["rows.parquet", "manifest.json", "examples.npz"])
def test_a_damaged_cell_is_set_aside_and_computed_again(
    swept: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    (cell,) = plan(tmp_path, methods="tent").cells
    folder, display = cell.folder(tmp_path), Notices()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / name).write_bytes(before[name][:-1] + bytes([before[name][-1] ^ 1]))
    sweep = plan(tmp_path, methods="tent,norm")
    assert [cell.state(tmp_path) for cell in sweep.cells] == ["damaged", "done"]
    outcome = Runner(sweep, display).run()
    assert (outcome.computed, outcome.kept) == ({"done": 1}, 1)
    assert display.heard(str(folder / name), "damaged", "quarantine")
    kept = tmp_path / "quarantine" / folder.relative_to(tmp_path)
    assert {path.name for path in kept.iterdir()} == set(before)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    del before["attempts.json"], after["attempts.json"]
    assert before == after


@pytest.mark.parametrize("text", ["[]", ""])
def test_a_damaged_history_of_a_failed_cell_costs_nothing(
    tmp_path: Path, register: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    register(Toy)
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "step", None)
        assert run(tmp_path, methods="toy").computed == {"failed": 1}
    ((folder, _),) = store.cells(tmp_path)
    (folder / "attempts.json").write_text(text)
    display = Notices()
    assert Runner(plan(tmp_path, methods="toy"), display).run().computed == {"done": 1}
    assert display.heard("attempts.json", "damaged", "history")
    assert len(store.read_attempts(folder)["attempts"]) == 1


def test_a_damaged_save_of_a_cell_is_set_aside(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "checkpoints", tmp_path / "checkpoints")
    interrupt(tmp_path, methods="tent")
    (partial,) = tmp_path.rglob("*.partial.safetensors")
    content = bytearray(partial.read_bytes())
    content[-100] ^= 1
    partial.write_bytes(content)
    display = Notices()
    assert Runner(plan(tmp_path, methods="tent"), display).run().computed == {"done": 1}
    assert display.heard(partial.name, "damaged", "quarantine")
    ((folder, _),) = store.cells(tmp_path)
    other = swept / folder.relative_to(tmp_path)
    for name in ("rows.parquet", "statistics.parquet", "totals.parquet", "losses.parquet"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_what_killed_runs_left_is_removed(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept, tmp_path, dirs_exist_ok=True)
    (cell,) = plan(tmp_path, methods="base").cells
    left = [
        cell.partial(tmp_path),
        tmp_path / "checkpoints" / f".{cell.parent}.safetensors.tmp-00000000-1-aa",
        tmp_path / "checkpoints" / f"{cell.parent}.partial.safetensors",
    ]
    kept = [cell.partial(tmp_path).with_name(".tent-other.partial.safetensors")]
    for path in (*left, *kept):
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    run(tmp_path, methods="base", seeds=1)
    assert [path.exists() for path in left] == [False] * 3
    assert [path.exists() for path in kept] == [True]


def test_finished_results_in_a_read_only_folder_need_no_run(
    swept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*args: Any, **kwargs: Any) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("mkdir", "touch", "unlink"):
        monkeypatch.setattr(Path, name, denied)
    outcome = Runner(plan(swept, methods="base,tent"), Silent()).run()
    assert (outcome.computed, outcome.kept) == ({}, 2)


def test_results_that_vanish_during_the_run_are_missed(
    tmp_path: Path, register: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(Toy)
    real = store.write_cell

    def vanishing(folder: Path, files: Any) -> None:
        shutil.rmtree(tmp_path / "cells")
        real(folder, files)

    monkeypatch.setattr(store, "write_cell", vanishing)
    display = Notices()
    outcome = Runner(plan(tmp_path, methods="base,toy"), display).run()
    assert (outcome.computed, outcome.lost, outcome.incomplete) == ({"done": 2}, 1, True)
    assert display.heard("1 of 2 computed cells are no longer in")


@pytest.mark.parametrize("number", [signal.SIGUSR1])
def test_a_signal_while_adapting_saves_and_resumes_to_equal_bytes(
    swept: Path, tmp_path: Path, number: signal.Signals
) -> None:
    shutil.copytree(swept / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(KeyboardInterrupt):
        Runner(plan(tmp_path, methods="tent"), Signalling(number, "online")).run()
    assert list(tmp_path.rglob("*.partial.safetensors"))
    assert run(tmp_path, methods="tent").computed == {"done": 1}
    ((folder, _),) = store.cells(tmp_path)
    for path in folder.iterdir():
        if path.name != "attempts.json":
            other = swept / path.relative_to(tmp_path)
            assert path.read_bytes() == other.read_bytes(), path.name


def test_a_save_that_fails_costs_no_numbers(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *args: Any) -> None:
        raise BenchError(f"{path} cannot be written (No space left on device)")

    monkeypatch.setattr(tensor_file, "save", full)
    display = Notices()
    outcome = Runner(plan(tmp_path, methods="tent"), display, save_seconds=-1).run()
    assert outcome.computed == {"done": 1}
    for kind in (".partial.safetensors", ".safetensors"):
        assert display.heard(kind, "No space left", "The run continues")
    ((folder, _),) = store.cells(tmp_path)
    other = swept / folder.relative_to(tmp_path) / "rows.parquet"
    assert (folder / "rows.parquet").read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", ["cells", "checkpoints"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_anything_is_computed(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(BenchError, match=rf"{name} cannot be written \(File exists.*--results"):
        run(tmp_path, methods="base")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != name]
