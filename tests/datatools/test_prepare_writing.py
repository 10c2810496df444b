"""Drafts of folders, and the check of free space."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.files.raw_files import half_written, tree

from ttt_bench.datatools.prepare.writing import draft, require_space, save_array
from ttt_bench.errors import BenchError, DataError
from ttt_bench.util.os_errors import explained
from ttt_bench.util.text import format_bytes


def test_a_draft_appears_when_it_is_finished(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "set"
    folder = target.with_name(".set.partial")

    def interrupted() -> None:
        with draft(target, {"size": 4}) as made:
            (made / "first").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not target.exists()
    assert (folder / "first").exists()
    assert folder.name.startswith("."), "loaders do not look into hidden folders"
    (folder / ".second.tmp-12-34").write_text("left by a killed process")
    with draft(target, {"size": 4}) as folder:
        assert (folder / "first").read_text() == "1"
        (folder / "second").write_text("2")
    assert tree(tmp_path) == {"deep/set/first": b"1", "deep/set/second": b"2"}
    with (
        pytest.raises(DataError, match="exists already; delete it to make it again"),
        draft(target, {"size": 4}),
    ):
        pass


def test_a_draft_of_other_options_is_not_continued(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), draft(tmp_path / "set", {"size": 4}):
        raise KeyboardInterrupt
    with (
        pytest.raises(DataError, match=r"with other options.*delete the folder.*\"size\": 4"),
        draft(tmp_path / "set", {"size": 5}),
    ):
        pass


def test_a_full_disk_and_a_read_only_one_are_explained(tmp_path: Path) -> None:
    for code, words, advice in (
        (errno.ENOSPC, "No space left on device", "free some space"),
        (errno.EROFS, "Read-only file system", "its file system is mounted read-only"),
    ):
        with pytest.raises(BenchError) as caught, draft(tmp_path / "set", {}):
            raise OSError(code, words, str(tmp_path / "x"))
        message = str(caught.value)
        assert message.startswith(
            f"{tmp_path} cannot be written ({words}: {tmp_path / 'x'}); {advice}"
        )
        assert "the same command resumes" in message
    (tmp_path / "file").touch()
    with (
        pytest.raises(BenchError, match="a part of its path is a file"),
        draft(tmp_path / "file" / "set", {}),
    ):
        pass
    assert not half_written(tmp_path)


def test_room_is_asked_for_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_500_000))
    require_space(tmp_path / "not" / "there", 1_500_000, "x")
    with pytest.raises(
        DataError, match=r"a cache of 3 frames needs 1.6 MB and the disk of .* has 1.5 MB free"
    ):
        require_space(tmp_path / "not" / "there", 1_600_000, "a cache of 3 frames")


def test_sizes_in_words() -> None:
    assert [format_bytes(n) for n in (0, 999, 1500, 2_972_037_809, 5e12)] == [
        *("0 bytes", "999 bytes", "1.5 kB", "3.0 GB", "5000.0 GB")
    ]


@pytest.mark.parametrize("name", ["x.npy", "x.png"])
def test_arrays_on_a_full_disk_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    save_array(tmp_path / name, array)
    before = tree(tmp_path)
    found = np.load(tmp_path / name) if name == "x.npy" else np.asarray(Image.open(tmp_path / name))
    np.testing.assert_array_equal(found, array)

    def full(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with (
        pytest.raises(BenchError, match=r"No space left on device.*free some space"),
        explained(tmp_path),
    ):
        save_array(tmp_path / name, array + 1)
    assert tree(tmp_path) == before
