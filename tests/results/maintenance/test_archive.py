"""`results export`: archives that ordinary programs read."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.command import call, refused
from support.stored import contents_of, flip, put_cell, put_everything

from ttt_bench.results.maintenance import archive
from ttt_bench.results.maintenance.archive import export
from ttt_bench.results.schema import ROW_COLUMNS
from ttt_bench.util.progress import Silent

FORMATS = (".zip", ".tar.gz")


def unpack(path: Path, folder: Path) -> dict[str, bytes]:
    """Unpack an archive with the standard library; return the files below its only folder."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as packed:
            assert packed.testzip() is None
            packed.extractall(folder)
    else:
        with tarfile.open(path) as packed:
            packed.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return contents_of(top)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("checkpoints", [False, True])
def test_an_archive_has_the_stored_files_and_their_sums(
    tmp_path: Path, suffix: str, checkpoints: bool
) -> None:
    root = tmp_path / "run"
    put_everything(root)
    (root / "notes.txt").touch()
    to = tmp_path / f"out{suffix}"
    done = export(root, to, Silent(), checkpoints=checkpoints)
    found = unpack(to, tmp_path / "unpacked")
    sums = found.pop("SHA256SUMS").decode()
    readme = found["README.md"].decode()
    assert all(f"`{column}`" in readme for column in ROW_COLUMNS)
    assert [line.split("  ") for line in sums.splitlines()] == [
        [hashlib.sha256(content).hexdigest(), name] for name, content in sorted(found.items())
    ]
    del found["README.md"]
    wanted = {
        name: content
        for name, content in contents_of(root, "notes.txt").items()
        if not name.endswith(".partial.safetensors")
        and not name.startswith(("launched/", "compacted/"))
        and (checkpoints or not name.startswith("checkpoints/"))
    }
    assert found == wanted
    assert (done.files, done.size, done.left_out) == (len(wanted), to.stat().st_size, ())


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_sha256sum_accepts_the_list_and_finds_a_change(tmp_path: Path) -> None:
    put_everything(tmp_path / "run")
    export(tmp_path / "run", tmp_path / "out.zip", Silent())
    unpack(tmp_path / "out.zip", tmp_path / "unpacked")
    top = tmp_path / "unpacked" / "run"
    command = ["sha256sum", "-c", "--strict", "SHA256SUMS"]
    assert subprocess.run(command, cwd=top, capture_output=True, check=False).returncode == 0
    flip(top / "cells" / "a+b" / "tent-c0ffee" / "rows.parquet", 800)
    assert subprocess.run(command, cwd=top, capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("suffix", FORMATS)
def test_equal_folders_give_equal_archives(tmp_path: Path, suffix: str) -> None:
    put_everything(tmp_path / "a" / "run")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for path in (tmp_path / "b").rglob("*"):
        os.utime(path, (0, 0))
        path.chmod(0o700)
    archives = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in archives:
        export(tmp_path / path.name[0] / "run", path, Silent(), checkpoints=True)
    assert archives[0].read_bytes() == archives[1].read_bytes()


def test_damaged_cells_are_left_out_with_exit_code_1(tmp_path: Path) -> None:
    rows = put_everything(tmp_path / "run")["rows"]
    put_cell(tmp_path / "run", "base", "decade")
    flip(rows, 800)
    done = call("results", "export", tmp_path / "run", "--to", tmp_path / "out.tar.gz")
    assert done.returncode == 1
    assert str(rows) in done.stderr
    names = unpack(tmp_path / "out.tar.gz", tmp_path / "unpacked")
    assert "cells/a+b/base-decade/rows.parquet" in names
    assert not [name for name in names if "tent-c0ffee" in name]


def test_a_file_that_changes_meanwhile_leaves_no_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = put_everything(tmp_path / "run")["rows"]
    whole = archive._whole

    def changing(parts: list[archive.Part]) -> tuple[list[archive.Part], list[str]]:
        found = whole(parts)
        flip(rows, 800)
        return found

    monkeypatch.setattr(archive, "_whole", changing)
    message = refused("results", "export", tmp_path / "run", "--to", tmp_path / "out.zip")
    assert "rows.parquet changed while it was packed" in message
    assert not list(tmp_path.glob("*out*"))


def test_archives_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    put_everything(tmp_path / "run")
    command = ("results", "export", tmp_path / "run", "--to")
    assert "unknown format" in refused(*command, tmp_path / "out.tar.zst")
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(*command, tmp_path / "file" / "out.zip")
    if Path("/dev/full").exists():
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "cells").mkdir()
        assert "no whole results" in refused(
            "results", "export", tmp_path / "full", "--to", tmp_path / "out.zip"
        )
