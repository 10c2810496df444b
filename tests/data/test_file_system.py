"""Only regular files are data, and folders of storage devices are passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files.odd_files import ODD, write_odd

from ttt_bench.data.file_system import Contents, contents_of, is_stray
from ttt_bench.errors import DataError
from ttt_bench.util.os_errors import file_bytes

STRAY = (
    "lost+found",
    "@eaDir",
    "__MACOSX",
    "$RECYCLE.BIN",
    "System Volume Information",
    ".Trash-1000",
    "#recycle",
    ".snapshot",
)


def test_a_folder_has_folders_files_and_others(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", ".hidden"):
        (tmp_path / name).touch()
    for name in (*STRAY, "ihlen"):
        (tmp_path / name).mkdir()
    (tmp_path / "linked.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "linked").symlink_to(tmp_path / "ihlen")
    write_odd(tmp_path / "self", "link to itself")
    write_odd(tmp_path / "pipe", "named pipe")
    assert contents_of(tmp_path) == Contents(
        folders=("ihlen", "linked"),
        files=(".hidden", "a.png", "b.png", "linked.png"),
        others=("pipe", "self"),
    )


@pytest.mark.parametrize("name", ["ihlen", "segment_semantic", "images", "2008_000008", "r\udce4"])
def test_names_of_data_are_not_stray(name: str) -> None:
    assert not is_stray(name)


@pytest.mark.parametrize("name", STRAY)
def test_names_of_storage_devices_are_stray(name: str) -> None:
    assert is_stray(name)


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"Rooms: {tmp_path / 'a'}: no such file"):
        contents_of(tmp_path / "a", "Rooms")
    (tmp_path / "b").touch()
    with pytest.raises(DataError, match=r"b cannot be read \(Not a directory\)"):
        contents_of(tmp_path / "b")


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    write_odd(tmp_path / "depth.npy", kind)
    with pytest.raises(DataError, match=str(tmp_path / "depth.npy")) as caught:
        file_bytes(tmp_path / "depth.npy")
    words = {"link to itself": "link", "link to nothing": "no such file", "link to a device": "dev"}
    assert words.get(kind, kind) in str(caught.value)


def test_a_link_to_a_regular_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").symlink_to("a")
    assert file_bytes(tmp_path / "b") == 3
