"""Files and folders are replaced completely or not at all, and failures are explained."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.files.raw_files import tree

from ttt_bench.errors import BenchError
from ttt_bench.util import owner
from ttt_bench.util.atomic import (
    OLD_SECONDS,
    atomic_file,
    atomic_folder,
    remove_leftovers,
    replacing,
    require_writable,
    temporary_path,
)

HINT = "choose another folder"
Writer = Callable[[Path], AbstractContextManager[Path]]


def durable(path: Path) -> AbstractContextManager[Path]:
    return atomic_file(path, HINT)


@pytest.mark.parametrize("writer", [replacing, durable])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_write_keeps_the_old_file(
    tmp_path: Path, writer: Writer, error: type[BaseException]
) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def interrupted() -> None:
        with writer(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert tree(tmp_path) == {"a": b"old"}
    with writer(path) as temporary:
        temporary.write_text("new")
    assert tree(tmp_path) == {"a": b"new"}


def test_a_file_makes_its_parent_folders(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "b" / "c" / "file", HINT) as temporary:
        temporary.write_text("x")
    assert tree(tmp_path) == {"b/c/file": b"x"}


def test_a_failed_write_names_the_file_the_cause_and_the_hint(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with (
        pytest.raises(BenchError) as caught,
        atomic_file(path, HINT) as temporary,
    ):
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))
    assert str(caught.value) == (
        f"{path} cannot be written (No space left on device: {temporary}); "
        f"free some space, or {HINT}"
    )
    assert tree(tmp_path) == {}


def test_another_library_s_exception_is_explained_if_named(tmp_path: Path) -> None:
    with (
        pytest.raises(BenchError, match=r"cannot be written \(quota\)"),
        atomic_file(tmp_path / "a", HINT, (ValueError,)),
    ):
        raise ValueError("quota")


def test_a_new_folder_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "cell"

    def fails() -> None:
        with atomic_folder(folder, HINT) as draft:
            (draft / "half").write_text("1")
            assert not folder.exists()
            raise OSError("quota")

    with pytest.raises(BenchError, match="quota"):
        fails()
    assert tree(tmp_path) == {}
    with atomic_folder(folder, HINT) as draft:
        (draft / "whole").write_text("2")
    assert tree(tmp_path) == {"cells/cell/whole": b"2"}
    assert [path.name for path in folder.parent.iterdir()] == ["cell"]


@pytest.mark.parametrize(("commit", "expected"), [(None, "theirs"), ("last", "ours")])
def test_a_folder_that_another_process_wrote_meanwhile(
    tmp_path: Path, commit: str | None, expected: str
) -> None:
    folder = tmp_path / "arrays"
    with atomic_folder(folder, HINT, commit=commit) as draft:
        (draft / "last").write_text("ours")
        folder.mkdir()
        (folder / "last").write_text("theirs")
    assert tree(tmp_path) == {"arrays/last": expected.encode()}


def test_an_existing_folder_is_never_removed_and_its_last_file_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cell"
    folder.mkdir()
    for name, text in {"a": "1", "same": "s", "commit": "1", "stale": "x"}.items():
        (folder / name).write_text(text)
    replaced: list[str] = []
    real = Path.replace

    def recording(self: Path, target: Path) -> Path:
        assert (folder / "commit").read_text() == "1", "the other files are in place before it"
        replaced.append(target.name)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", recording)
    with atomic_folder(folder, HINT, commit="commit") as draft:
        for name, text in {"a": "2", "same": "s", "commit": "2", "z": "2"}.items():
            (draft / name).write_text(text)
    assert replaced == ["a", "z", "commit"]
    assert tree(folder) == {"a": b"2", "same": b"s", "commit": b"2", "z": b"2"}
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_has_the_mode_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic_file(tmp_path / "private", HINT) as temporary:
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert (tmp_path / "private").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_temporary_name_of_a_long_name_is_short_enough(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".png")
    with replacing(path) as temporary:
        temporary.write_text("x")
    assert tree(tmp_path) == {path.name: b"x"}


def test_leftovers_of_ended_processes_are_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    own, other = owner.machine(), "0" * 8
    gone = [tmp_path / f".a.tmp-{own}-{ended.pid}-aa", tmp_path / f".b.tmp-{other}-1-bb"]
    kept = [
        temporary_path(tmp_path / "mine"),
        tmp_path / f".c.tmp-{other}-1-cc",
        tmp_path / "rows.parquet",
    ]
    for path in (*gone, *kept):
        path.touch()
    gone[0].unlink()
    gone[0].mkdir()
    (gone[0] / "rows.parquet").touch()
    old = time.time() - 2 * OLD_SECONDS
    os.utime(gone[1], (old, old))
    assert remove_leftovers(tmp_path) == gone
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BenchError, match=rf"{folder} cannot be written .*, or {HINT}"):
            require_writable(folder, HINT)
    require_writable(tmp_path / "new" / "folder", HINT)
    assert list((tmp_path / "new" / "folder").iterdir()) == []
