"""The compacted copy gives what the cells give, and follows every change of theirs."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from support.synthetic import BASE, add_cell, constant, gains

from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.results.compacted import dataset
from ttt_bench.results.compacted.dataset import known_states, read_dataset
from ttt_bench.results.compacted.parts import stored_parts
from ttt_bench.results.load import Loaded, load

MANY = 6
"""Cells from which on these tests write a part."""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the cells that were read from their own files."""
    monkeypatch.setattr(dataset, "FEWEST", MANY)
    names: list[str] = []
    original = dataset.read_part

    def recording(root: Path, stamps: dict[str, object], columns: tuple[str, ...]) -> object:
        names.extend(stamps)
        return original(root, stamps, columns)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset, "read_part", recording)
    return names


def settle(root: Path, seconds: float = 100.0) -> None:
    """Make all files old enough to be compacted."""
    for path in root.glob("cells/*/*/*"):
        age = time.time() - seconds
        if path.stat().st_mtime > age:
            os.utime(path, (age, age))


def add(root: Path, seeds: range) -> list[Path]:
    """Write a cell per seed; one of them has no numbers, and one has a nested entry of its own."""
    folders = []
    for seed in seeds:
        scores = None if seed == 1 else gains(seed, 1.5, base=BASE)
        state = "failed" if scores is None else "done"
        own = {"configuration": {"evaluation": 3, "code": "x"}} if seed == 2 else None
        folders.append(
            add_cell(root, "tent", scores, config=f"c{seed}", seed=seed, state=state, manifest=own)
        )
    settle(root)
    return folders


@pytest.fixture
def results(tmp_path: Path, read: list[str]) -> Path:
    """Eight cells that have a compacted copy."""
    add(tmp_path, range(8))
    load(tmp_path)
    assert len(read) == 8
    read.clear()
    return tmp_path


def assert_equal(first: Loaded, second: Loaded) -> None:
    pd.testing.assert_frame_equal(first.cells, second.cells)
    pd.testing.assert_frame_equal(first.rows, second.rows)
    assert first.problems == second.problems


def without_copy(root: Path) -> Loaded:
    shutil.rmtree(root / "compacted")
    return load(root)


def test_rows_and_manifests_are_those_of_the_cells(results: Path, read: list[str]) -> None:
    through_copy, rows = load(results), store.read_results(results)
    assert read == []
    assert_equal(through_copy, without_copy(results))
    pd.testing.assert_frame_equal(rows, store.read_results(results))
    of_cells = [pd.read_parquet(path) for path in sorted(results.glob("cells/*/*/rows.parquet"))]
    pd.testing.assert_frame_equal(rows, pd.concat(of_cells, ignore_index=True), check_dtype=False)
    manifests = [manifest for _, manifest in store.cells(results)]
    assert list(through_copy.cells["manifest"]) == manifests


def test_only_new_changed_and_removed_cells_are_looked_at(results: Path, read: list[str]) -> None:
    add(results, range(20, 22))
    add_cell(results, "tent", constant(BASE), config="c3", seed=3)
    shutil.rmtree(next(results.glob("cells/*/tent-c5")))
    found = load(results)
    assert [Path(name).name for name in read] == ["tent-c20", "tent-c21", "tent-c3"]
    assert_equal(found, without_copy(results))
    assert set(found.cells["seed"]) == {0, 1, 2, 3, 4, 6, 7, 20, 21}


@pytest.mark.parametrize("name", ["rows.parquet", "statistics.parquet", "manifest.json"])
def test_damage_of_a_compacted_cell_is_found(results: Path, name: str) -> None:
    path = next(results.glob(f"cells/*/tent-c4/{name}"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (problem,) = load(results).problems
    assert str(path) in problem
    with pytest.raises(BenchError, match="tent-c4"):
        store.read_results(results)
    assert f"{path.parent.parent.name}/tent-c4" not in known_states(results)


def test_states_are_known_without_reading_cells(results: Path, read: list[str]) -> None:
    states = known_states(results)
    assert {Path(name).name: state for name, state in states.items()} == {
        f"tent-c{seed}": "failed" if seed == 1 else "done" for seed in range(8)
    }
    assert read == []


@pytest.mark.parametrize("kind", ["cells", "rows"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_copy_is_removed_and_made_again(
    results: Path, read: list[str], kind: str, damage: str
) -> None:
    (path,) = results.glob(f"compacted/{kind}-*")
    whole = path.read_bytes()
    changed = whole[:-9] if damage == "cut" else whole[:99] + b"?" + whole[100:]
    path.unlink() if damage == "remove" else path.write_bytes(changed)
    found = load(results)
    assert len(read) == 8
    assert_equal(found, load(results))
    assert len(read) == 8
    assert path.read_bytes() == whole  # equal cells give an equal copy


def test_small_parts_are_joined(tmp_path: Path, read: list[str]) -> None:
    for batch in range(8):
        add(tmp_path, range(10 * batch + 2, 10 * batch + 2 + MANY))
        load(tmp_path)
    assert len(read) == 8 * MANY
    sizes = sorted(len(part.cells) for part in stored_parts(tmp_path, None))
    assert sum(sizes) == 8 * MANY
    assert len(sizes) <= 4
    assert_equal(load(tmp_path), without_copy(tmp_path))


def test_cells_that_may_still_change_and_damaged_ones_are_not_compacted(
    tmp_path: Path, read: list[str]
) -> None:
    folders = add(tmp_path, range(2, 10))
    (folders[3] / "losses.parquet").write_bytes(b"newer")
    (folders[4] / "rows.parquet").write_bytes(b"damaged")
    settle(tmp_path)
    os.utime(folders[3] / "losses.parquet")
    read_dataset(tmp_path)
    (part,) = stored_parts(tmp_path, None)
    kept = {Path(str(name)).name for name in part.column("name")}
    assert kept == {folder.name for folder in folders} - {folders[3].name, folders[4].name}


@pytest.mark.usefixtures("read")
def test_a_folder_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    add(tmp_path, range(8))
    (tmp_path / "compacted").write_text("in the way")  # root may write to read-only folders
    assert len(load(tmp_path).cells) == 8


def test_few_cells_have_no_copy(tmp_path: Path) -> None:
    add(tmp_path, range(8))
    load(tmp_path)
    assert not (tmp_path / "compacted").exists()
