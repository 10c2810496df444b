"""Unpacking of valid, damaged, incomplete and harmful archives."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.files.raw_files import Stopping, half_written, member, pack, tar_of, tree

from ttt_bench.datatools.prepare import archives
from ttt_bench.datatools.prepare.archives import (
    Destination,
    Member,
    below,
    copy_member,
    declared_size,
    download_state,
    list_members,
    unpack,
)
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress, Silent


@pytest.fixture
def content(tmp_path: Path) -> Path:
    folder = tmp_path / "content"
    for name in ("depth/1.npy", "depth/2.npy", "images/1.png", "other/1.txt", "depth/.DS_Store"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 300)
    return folder


def unpacked(
    archive: Path, place: Destination, folder: Path, progress: Progress | None = None
) -> int:
    return unpack(archive, list_members(archive, Silent()), place, folder, progress or Silent())


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".zip"])
@pytest.mark.parametrize("above", ["", "NYUDv2", "./NYUDv2", "a/b"])
def test_only_members_with_a_destination_are_unpacked(
    tmp_path: Path, content: Path, suffix: str, above: str
) -> None:
    archive = pack(tmp_path / f"x{suffix}", content, above)
    place = below("depth", "images")
    members = list_members(archive, Silent())
    assert len(members) == 5
    assert declared_size(members, place) == 300 * (11 + 11 + 12)
    assert unpacked(archive, place, tmp_path / "out") == 3
    expected = {
        name: data for name, data in tree(content).items() if name[0] in "di" and ".DS" not in name
    }
    assert tree(tmp_path / "out") == expected


@pytest.mark.parametrize(
    "name", ["../evil.txt", "a/../../evil.txt", "/etc/evil", "..\\evil", "C:\\evil", "C:/evil"]
)
@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
def test_members_outside_the_folder_are_refused_and_named(
    tmp_path: Path, name: str, suffix: str
) -> None:
    archive = tmp_path / f"x{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as content:
            content.writestr("depth/1.npy", b"good")
            content.writestr(name, b"bad")
    else:
        tar_of(archive, [(member("depth/1.npy"), b"good"), (member(name), b"evil")])
    with pytest.raises(DataError) as caught:
        unpacked(archive, lambda member: member, tmp_path / "out")
    assert f"refused: member {name} is outside the folder; nothing was unpacked" in str(
        caught.value
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a device or similar"),
    ],
)
def test_links_and_devices_are_refused_and_named(tmp_path: Path, kind: bytes, words: str) -> None:
    archive = tar_of(
        tmp_path / "x.tar", [(member("depth/1.npy", kind=kind, link="/etc/passwd"), b"")]
    )
    with pytest.raises(DataError, match=f"refused: member depth/1.npy is {words}"):
        list_members(archive, Silent())


def test_links_in_zip_archives_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("depth/1.npy")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as content:
        content.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match=r"refused: member depth/1.npy is a link"):
        list_members(tmp_path / "x.zip", Silent())


def zeros(archive: Path, name: str, count: int) -> Path:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
            content.writestr(name, bytes(count))
        return archive
    return tar_of(archive, [(member(name, bytes(count)), bytes(count))])


@pytest.mark.parametrize("suffix", [".tgz", ".zip"])
def test_archives_that_declare_far_too_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(archives, "SMALL", 1000)
    archive = zeros(tmp_path / f"x{suffix}", "depth/bomb.npy", 2_000_000)
    with pytest.raises(DataError) as caught:
        list_members(archive, Silent())
    expected = "refused at member depth/bomb.npy: up to it the archive declares 2.0 MB, more than"
    assert expected in str(caught.value)


def test_a_member_that_is_larger_than_declared_is_refused(tmp_path: Path) -> None:
    archive = zeros(tmp_path / "x.zip", "depth/1.npy", 5000)
    raw = bytearray(archive.read_bytes())
    for mark, offset in (
        (b"PK\x03\x04", 22),
        (b"PK\x01\x02", 24),
    ):  # declare 10 bytes in both headers
        struct.pack_into("<I", raw, raw.index(mark) + offset, 10)
    archive.write_bytes(raw)
    with pytest.raises(
        DataError, match=r"member depth/1.npy does not unpack to the declared 10 bytes"
    ):
        unpacked(archive, below("depth"), tmp_path / "out")
    assert not tree(tmp_path / "out")


def test_streams_of_another_size_than_declared_are_refused(tmp_path: Path) -> None:
    for data, words in ((b"12345", "more"), (b"12", "less")):
        with pytest.raises(
            DataError, match=f"member m unpacks to {words} than the declared 3 bytes"
        ):
            copy_member(tmp_path / "x.tar", Member("m", 3), io.BytesIO(data), io.BytesIO())


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_the_message_on_a_truncated_archive_states_its_size(
    tmp_path: Path, content: Path, share: float
) -> None:
    archive = pack(tmp_path / "ihlen_rgb.tar", content)
    data = archive.read_bytes()
    kept = int(len(data.rstrip(b"\0")) * share)
    archive.write_bytes(data[:kept])
    with pytest.raises(DataError) as caught:
        list_members(archive, Silent())
    message = str(caught.value)
    assert f"archive incomplete: {kept:,} of at least " in message
    assert "delete it and resume" in message
    least = int(message.split("at least ")[1].split(" bytes")[0].replace(",", ""))
    assert kept < least <= len(data)


def test_a_tar_cut_between_members_is_incomplete_too(tmp_path: Path) -> None:
    archive = tar_of(
        tmp_path / "x.tar", [(member("a", bytes(512)), bytes(512)), (member("b"), b"data")]
    )
    archive.write_bytes(archive.read_bytes()[:1024])
    with pytest.raises(DataError, match=r"archive incomplete: 1,024 of at least 2,048 bytes"):
        list_members(archive, Silent())


@pytest.mark.parametrize("suffix", [".tar.gz", ".zip"])
@pytest.mark.parametrize("share", [0.4, 0.95])
def test_cut_compressed_archives_are_incomplete(
    tmp_path: Path, content: Path, suffix: str, share: float
) -> None:
    for number in range(50):
        (content / "depth" / f"n{number}").write_bytes(bytes(str(hash(str(number))), "ascii") * 20)
    archive = pack(tmp_path / f"x{suffix}", content)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        DataError, match=r"archive incomplete: [\d,]+ of more bytes; delete it and resume"
    ):
        list_members(archive, Silent())


def test_a_wrong_check_sum_is_damage(tmp_path: Path, content: Path) -> None:
    archive = pack(tmp_path / "x.tar.gz", content)
    data = bytearray(archive.read_bytes())
    data[-6] ^= 1
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged \(CRC"):
        list_members(archive, Silent())


def control_file(piece: int, total: int, done: int, version: int = 1) -> bytes:
    """Return the control file that aria2c writes next to a download.

    Its fields are version, extension, hash, piece length, totals, and one bit per piece.
    """
    order = ">" if version else "<"
    field = bytes([done])
    return struct.pack(f"{order}HIIIQQI", version, 0, 0, piece, total, 0, len(field)) + field


@pytest.mark.parametrize("version", [0, 1])
def test_an_unfinished_download_of_full_size_is_recognised_by_its_control_file(
    tmp_path: Path, content: Path, version: int
) -> None:
    archive = pack(tmp_path / "ihlen_rgb.tar", content)
    total = archive.stat().st_size
    assert download_state(archive) is None
    list_members(archive, Silent())
    (tmp_path / "ihlen_rgb.tar.aria2").write_bytes(control_file(1024, total, 0b11010000, version))
    assert download_state(archive) == (3 * 1024, total)
    with pytest.raises(
        DataError, match=f"archive incomplete: 3,072 of {total:,} bytes; delete it and resume"
    ):
        list_members(archive, Silent())
    (tmp_path / "ihlen_rgb.tar.aria2").write_bytes(b"?")
    with pytest.raises(DataError, match=r"of more bytes"):
        list_members(archive, Silent())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (
            b"<!DOCTYPE html><html>Not found</html>",
            "not an archive: 37 bytes, looks like a web page",
        ),
        (b"version https://git-lfs", "looks like text"),
        (bytes(range(256)) * 8, "not a tar archive"),
    ],
)
def test_other_files_under_the_name_of_an_archive(tmp_path: Path, data: bytes, words: str) -> None:
    archive = tmp_path / "NYUDv2.tar"
    archive.write_bytes(data)
    with pytest.raises(DataError, match=words):
        list_members(archive, Silent())
    with pytest.raises(DataError, match="no such file"):
        list_members(tmp_path / "nowhere.tar", Silent())
    with pytest.raises(DataError, match="not a file"):
        list_members(tmp_path, Silent())


def test_gzipped_data_that_are_not_tar_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(bytes(range(256)) * 20))
    with pytest.raises(DataError, match="not a tar archive"):
        list_members(tmp_path / "x.tar.gz", Silent())


def packed(archive: Path, members: list[tuple[str, bytes]]) -> Path:
    """Write an archive with these members in this order; names may occur twice."""
    if archive.suffix != ".zip":
        return tar_of(archive, [(member(name, data), data) for name, data in members])
    with zipfile.ZipFile(archive, "w") as content, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice
        for name, data in members:
            content.writestr(name, data)
    return archive


class Counting(Silent):
    """A display that counts the steps of every bar."""

    def __init__(self) -> None:
        self.total = self.done = 0

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Any]:
        self.total, self.done = total, 0
        yield self

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
@pytest.mark.parametrize("second", ["depth/1.npy", "./depth/1.npy", "depth//1.npy"])
@pytest.mark.parametrize("size", [5, 9])
def test_the_last_of_several_members_of_one_name_counts(
    tmp_path: Path, suffix: str, second: str, size: int
) -> None:
    last = b"the last one"[:size]
    members = [("depth/1.npy", b"first"), ("depth/2.npy", b"other"), (second, last)]
    archive, counting = packed(tmp_path / f"x{suffix}", members), Counting()
    assert unpacked(archive, below("depth"), tmp_path / "out", counting) == 2
    assert (counting.done, counting.total) == (2, 2)
    assert tree(tmp_path / "out") == {"depth/1.npy": last, "depth/2.npy": b"other"}
    assert declared_size(list_members(archive, Silent()), below("depth")) == 5 + size


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_two_folders_for_one_place_are_refused_and_named(tmp_path: Path, suffix: str) -> None:
    archive = packed(tmp_path / f"x{suffix}", [("a/depth/1.npy", b"1"), ("b/depth/1.npy", b"2")])
    message = "member b/depth/1.npy is a second file for depth/1.npy, in addition to a/depth/1.npy"
    with pytest.raises(DataError, match=message):
        unpacked(archive, below("depth"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [("depth/1", "depth/1/2.npy"), ("depth/1/2/3", "depth/1")])
def test_a_member_below_another_one_is_refused_and_named(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    archive = packed(tmp_path / "x.tar", [(name, b"data") for name in names])
    with pytest.raises(DataError, match=r"member depth/1/\S+ is below depth/1, which is a file"):
        unpacked(archive, below("depth"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".tar", ".tgz", ".zip"])
def test_an_interruption_leaves_whole_files_and_the_next_call_resumes(
    tmp_path: Path, content: Path, suffix: str
) -> None:
    archive = pack(tmp_path / f"x{suffix}", content)
    place, out = below("depth", "images"), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        unpacked(archive, place, out, Stopping("unpacking", 2))
    first = tree(out)
    assert 0 < len(first) < 3
    assert not half_written(out)
    times = {name: (out / name).stat().st_mtime_ns for name in first}
    unpacked(archive, place, out)
    assert len(tree(out)) == 3
    assert {name: (out / name).stat().st_mtime_ns for name in first} == times
