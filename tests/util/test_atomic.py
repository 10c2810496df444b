"""Files and folders are replaced completely or not at all, and failures are explained."""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.files.raw_files import tree

from ttt_bench.errors import BenchError
from ttt_bench.util.atomic import (
    atomic_file,
    atomic_folder,
    replacing,
    require_writable,
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


def test_a_folder_is_replaced_completely(tmp_path: Path) -> None:
    folder = tmp_path / "cells" / "cell"
    with atomic_folder(folder, HINT) as draft:
        (draft / "old").write_text("1")
    assert tree(tmp_path) == {"cells/cell/old": b"1"}

    def fails() -> None:
        with atomic_folder(folder, HINT) as draft:
            (draft / "new").write_text("2")
            raise OSError("quota")

    with pytest.raises(BenchError, match="quota"):
        fails()
    assert tree(tmp_path) == {"cells/cell/old": b"1"}
    with atomic_folder(folder, HINT) as draft:
        (draft / "new").write_text("2")
    assert tree(tmp_path) == {"cells/cell/new": b"2"}
    assert [path.name for path in folder.parent.iterdir()] == ["cell"]


def test_a_folder_stays_if_the_new_one_cannot_be_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cell"
    with atomic_folder(folder, HINT) as draft:
        (draft / "old").write_text("1")
    real = Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self == draft:
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with (
        pytest.raises(BenchError, match="Input/output error"),
        atomic_folder(folder, HINT) as draft,
    ):
        (draft / "new").write_text("2")
    assert tree(tmp_path) == {"cell/old": b"1"}


@pytest.mark.parametrize(("keep", "expected"), [(True, b"theirs"), (False, b"ours")])
def test_a_folder_that_another_process_wrote_meanwhile(
    tmp_path: Path, keep: bool, expected: bytes
) -> None:
    folder = tmp_path / "arrays"
    with atomic_folder(folder, HINT, keep_existing=keep) as draft:
        (draft / "a").write_bytes(b"ours")
        folder.mkdir()
        (folder / "a").write_bytes(b"theirs")
    assert tree(tmp_path) == {"arrays/a": expected}


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BenchError, match=rf"{folder} cannot be written .*, or {HINT}"):
            require_writable(folder, HINT)
    require_writable(tmp_path / "new" / "folder", HINT)
    assert list((tmp_path / "new" / "folder").iterdir()) == []
