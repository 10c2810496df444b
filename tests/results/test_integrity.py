"""Damaged files of a cell are found, named and left out; they never give a wrong number."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.paths import ROOT
from support.stored import flip
from support.stored import put_cell as write

import ttt_bench
from ttt_bench.errors import BenchError, DamagedError, DataError
from ttt_bench.results import schema, store
from ttt_bench.results.load import load

OLD = ROOT / "tests" / "historic" / "schema_1" / "cells" / "rooms+rooms-mix"
NAMES = [
    *("rows.parquet", "statistics.parquet", "source.parquet", "totals.parquet", "losses.parquet"),
    *("manifest.json", "examples.npz"),
]
DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "missing": Path.unlink,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a dangling link": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named_and_its_cell_left_out(
    tmp_path: Path, name: str, damage: str
) -> None:
    folder, other = write(tmp_path), write(tmp_path, "base", "decade")
    DAMAGES[damage](folder / name)
    with pytest.raises(DamagedError, match=rf"{name} is damaged \(.*`ttt-bench run` sets it aside"):
        store.read_cell(folder)
    with pytest.raises(BenchError, match=name):
        ttt_bench.read_results(tmp_path)
    loaded = load(tmp_path)
    (problem,) = loaded.problems
    assert str(folder / name) in problem
    kept = {str(other)} if name != "examples.npz" else {str(other), str(folder)}
    assert set(loaded.cells["folder"]) == set(loaded.rows["folder"]) == kept


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    folder = write(tmp_path)
    draw = np.random.default_rng(0)
    for name in NAMES:
        path = folder / name
        whole = path.read_bytes()
        for bit in draw.integers(0, 8 * len(whole), 25):
            flip(path, int(bit))
            with pytest.raises(DamagedError, match=name):
                store.read_cell(folder)
            path.write_bytes(whole)
    assert store.read_cell(folder) is not None


@pytest.mark.parametrize("name", NAMES)
def test_a_file_swapped_for_that_of_another_cell_is_found(tmp_path: Path, name: str) -> None:
    folder, other = write(tmp_path), write(tmp_path, "base", "decade", value=2.5)
    shutil.copy(write(tmp_path / "third", "tent", "facade", 3.5) / name, folder / name)
    damaged = {str(folder / name)} if name != "examples.npz" else set()  # its content is equal
    assert {problem.split(" is damaged")[0] for problem in load(tmp_path).problems} == damaged
    assert store.read_cell(other) is not None


def old_cells(root: Path) -> list[Path]:
    """Copy the cells that have no digests into a results folder; return their folders."""
    made = []
    for folder in sorted(OLD.iterdir()):
        made.append(root / "cells" / OLD.name / folder.name)
        shutil.copytree(folder, made[-1])
    return made


@pytest.mark.parametrize("name", ["rows.parquet", "manifest.json"])
def test_swapped_files_of_cells_without_digests_are_found(tmp_path: Path, name: str) -> None:
    first, second = old_cells(tmp_path)
    shutil.copy(first / name, second / name)
    with pytest.raises(DamagedError) as caught:
        store.read_cell(second)
    assert caught.value.path == second / name
    assert store.read_cell(first) is not None


@pytest.mark.parametrize("damage", [b"", b"PK", b"no zip"])
def test_damaged_examples_without_digests_are_found(tmp_path: Path, damage: bytes) -> None:
    path = old_cells(tmp_path)[0] / "examples.npz"
    np.savez_compressed(path, image=np.zeros((1, 4, 4, 3), np.uint8))
    assert load(tmp_path).problems == ()
    path.write_bytes(damage)
    loaded = load(tmp_path)
    assert [str(path) in problem for problem in loaded.problems] == [True]
    assert len(loaded.cells) == 2


WRONG = ["", "[]", "7", "null", "{}", '{"state": 1}', "{", "\xff", "[" * 100_000, '"done"']


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("name", ["manifest.json", "attempts.json"])
def test_json_that_is_no_record_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    folder = write(tmp_path)
    (folder / name).write_bytes(text.encode("latin-1"))
    read = store.read_cell if name == "manifest.json" else store.read_attempts
    with pytest.raises(DamagedError, match=name) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", "finished"),
        ("state", None),
        ("notices", True),
        ("notices", [1]),
        ("seed", "0"),
        ("steps", 1.5),
        ("method", ["tent"]),
        ("schema_version", "2"),
        ("optimiser", []),
        ("scoring", "text"),
    ],
)
def test_a_field_of_another_type_is_named(tmp_path: Path, field: str, value: Any) -> None:
    path = write(tmp_path) / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["digest"]
    path.write_text(json.dumps({**manifest, field: value}))
    with pytest.raises(DamagedError, match=rf"damaged \({field}"):
        store.read_cell(path.parent)


def test_a_damaged_history_costs_no_numbers(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "attempts.json").write_text("[]")
    assert store.read_cell(folder) is not None
    loaded = load(tmp_path)
    assert loaded.problems == ()
    assert loaded.cells["finished"].isna().all()
    assert len(loaded.rows) == 1


def test_a_folder_in_the_place_of_the_history_is_damage(tmp_path: Path) -> None:
    path = write(tmp_path) / "attempts.json"
    path.unlink()
    path.mkdir()
    with pytest.raises(DamagedError, match="not a file"):
        store.read_attempts(path.parent)
    assert len(load(tmp_path).rows) == 1


@pytest.mark.parametrize("name", ["manifest.json", "rows.parquet"])
def test_a_file_without_permission_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = write(tmp_path)

    real = Path.open

    def denied(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name != name:
            return real(path, *args, **kwargs)
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(DataError, match=f"{name} cannot be read .*check its permissions"):
        store.read_cell(folder)


@pytest.mark.skipif(not hasattr(os, "geteuid") or not os.geteuid(), reason="root may read all")
@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_folder_without_permission_is_not_damaged(tmp_path: Path, mode: int) -> None:
    folder = write(tmp_path)
    folder.chmod(mode)
    try:
        for read in (load, ttt_bench.read_results):
            with pytest.raises(DataError, match="check its permissions"):
                read(tmp_path)
    finally:
        folder.chmod(0o700)


def test_results_of_damaged_cells_alone_are_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "rows.parquet").unlink()
    with pytest.raises(BenchError, match=r"rows.parquet is damaged \(it is missing\)"):
        load(tmp_path)


def test_equal_examples_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    image = np.arange(24.0).reshape(1, 2, 4, 3)
    ways = [{"b": image, "a": image}, {"a": image, "b": np.asfortranarray(image)}]
    contents = []
    for number, examples in enumerate(ways):
        folder = tmp_path / str(number)
        manifest = {"state": "done", "schema_version": schema.SCHEMA_VERSION}
        files = store.CellFiles(manifest=manifest, attempts={"attempts": []}, examples=examples)
        store.write_cell(folder, files)
        contents.append((folder / "examples.npz").read_bytes())
    assert contents[0] == contents[1]


def test_a_manifest_without_digests_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path) / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["digest"], manifest["files"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(DamagedError, match="it has no digest"):
        store.read_cell(path.parent)


def test_a_copy_under_another_name_is_named_and_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path)
    copies = [folder.with_name("tent-facade"), tmp_path / "cells" / "a+b copy" / folder.name]
    for copy in copies:
        shutil.copytree(folder, copy)
    loaded = load(tmp_path)
    assert list(loaded.cells["folder"]) == [str(folder)]
    assert len(loaded.problems) == 2
    for copy, reason in zip(reversed(copies), ["the pair a:b", "the cell c0ffee"], strict=True):
        found = [problem for problem in loaded.problems if str(copy) in problem]
        assert len(found) == 1
        assert reason in found[0]
        assert "results verify --set-aside" in found[0]


def test_every_flipped_bit_of_a_history_is_found(tmp_path: Path) -> None:
    path = write(tmp_path) / "attempts.json"
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flip(path, bit)
        try:
            found = store.read_attempts(path.parent)
        except DamagedError:
            found = None
        path.write_bytes(whole)
        # a changed space or line break changes nothing
        assert found in (None, store.read_attempts(path.parent))
