"""`results verify`: every kind of stored file is checked against its digest."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.command import call, refused
from support.stored import contents_of, flip, put_cell, put_everything

from ttt_bench.results.maintenance.verify import set_findings_aside, verify
from ttt_bench.util.claims import Claims
from ttt_bench.util.progress import Silent

KINDS = [
    *("rows", "manifest", "attempts", "examples", "measurement", "measured"),
    *(
        "study",
        "checkpoint",
        "time",
        "diverged",
        "data",
        "unfinished",
        "shard",
        "order",
        "tuned",
        "copy",
    ),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """Return a folder with every kind of file, and a file of each; tests leave them as they are."""
    root = tmp_path_factory.mktemp("made")
    return root, put_everything(root)


def test_a_whole_folder_is_whole_and_is_only_read(made: tuple[Path, dict[str, Path]]) -> None:
    root, _ = made
    before = contents_of(root)
    found = verify(root, Silent())
    assert found.findings == found.leftovers == found.others == ()
    assert sum(found.checked.values()) == 12
    assert contents_of(root) == before


def test_a_local_copy_of_a_store_is_a_results_folder(tmp_path: Path) -> None:
    put_cell(tmp_path)
    (tmp_path / ".ttt-bench-store").write_text("identity", encoding="utf-8")
    assert verify(tmp_path, Silent()).others == ()


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_bit_is_named(made: tuple[Path, dict[str, Path]], kind: str) -> None:
    root, files = made
    path = files[kind]
    whole = path.read_bytes()
    try:
        for bit in np.random.default_rng(0).integers(0, 8 * len(whole), 12):
            flip(path, int(bit))
            found = verify(root, Silent())
            assert [one.path for one in found.findings] == [path]
            assert str(path) in found.findings[0].problem
            path.write_bytes(whole)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("kind", ["rows", "measurement", "study", "checkpoint", "unfinished"])
@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_truncated_and_foreign_content_is_named(
    made: tuple[Path, dict[str, Path]], kind: str, content: bytes
) -> None:
    root, files = made
    path = files[kind]
    whole = path.read_bytes()
    try:
        path.write_bytes(content)
        assert [one.path for one in verify(root, Silent()).findings] == [path]
    finally:
        path.write_bytes(whole)


def test_swapped_and_missing_files_are_named(tmp_path: Path) -> None:
    files = put_everything(tmp_path)
    other = put_cell(tmp_path, "base", "decade", 2.5)
    shutil.copy(other / "rows.parquet", files["rows"])
    (other / "losses.parquet").unlink()
    copied = files["checkpoint"].with_name("0123456789abcdef.safetensors")
    shutil.copy(files["checkpoint"], copied)
    moved = files["unfinished"].with_name(".base-facade.partial.safetensors")
    files["unfinished"].rename(moved)
    found = {one.path: one.problem for one in verify(tmp_path, Silent()).findings}
    assert set(found) == {files["rows"], other / "losses.parquet", copied, moved}
    assert "missing" in found[other / "losses.parquet"]
    assert "something else than its name says" in found[copied]


def test_damaged_units_are_moved_and_a_history_goes_alone(tmp_path: Path) -> None:
    files = put_everything(tmp_path)
    for kind in ("rows", "checkpoint", "study"):
        flip(files[kind], 800)
    other = put_cell(tmp_path, "base", "decade") / "attempts.json"
    flip(other, 80)
    damaged = contents_of(tmp_path)
    moved, kept = set_findings_aside(tmp_path, verify(tmp_path, Silent()).findings)
    assert (len(moved), kept) == (4, [])
    assert verify(tmp_path, Silent()).findings == ()
    after = contents_of(tmp_path)
    gone = damaged.keys() - after.keys()
    for name in gone:
        assert after[f"quarantine/{name}"] == damaged[name]
    folder = files["rows"].parent.relative_to(tmp_path).as_posix()
    assert {name for name in gone if name.startswith(folder)} == {
        name for name in damaged if name.startswith(folder)
    }
    assert other.relative_to(tmp_path).as_posix() in gone
    assert (other.parent / "rows.parquet").exists()


def test_what_a_running_process_writes_is_not_moved(tmp_path: Path) -> None:
    rows = put_everything(tmp_path)["rows"]
    flip(rows, 800)
    with Claims(tmp_path / ".claims").attempt(rows.parent.name):
        moved, kept = set_findings_aside(tmp_path, verify(tmp_path, Silent()).findings)
    assert moved == []
    assert f"process {os.getpid()}" in kept[0]
    assert rows.exists()


def test_the_command_names_the_damage_and_ends_with_1(tmp_path: Path) -> None:
    files = put_everything(tmp_path)
    done = call("results", "verify", tmp_path)
    assert (done.returncode, "0 damaged" in done.stdout) == (0, True)
    flip(files["rows"], 800)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "cells" / "a+b" / ".x.tmp-00000000-1-aa").touch()
    done = call("results", "verify", tmp_path, "--json")
    record = json.loads(done.stdout)
    assert done.returncode == 1
    assert [one["path"] for one in record["damaged"]] == [str(files["rows"])]
    assert record["other"] == [str(tmp_path / "notes.txt")]
    assert len(record["leftovers"]) == 1
    done = call("results", "verify", tmp_path, "--set-aside")
    assert done.returncode == 1
    assert "quarantine" in done.stderr
    assert call("results", "verify", tmp_path).returncode == 0


@pytest.mark.parametrize("command", ["verify", "gc"])
def test_what_is_no_results_folder_is_one_line(tmp_path: Path, command: str) -> None:
    assert "does not exist" in refused("results", command, tmp_path / "nothing")
    (tmp_path / "file").touch()
    assert "is not a folder" in refused("results", command, tmp_path / "file")
    assert "is not a results folder" in refused("results", command, tmp_path)
