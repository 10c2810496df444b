"""Unpack archives safely: every member is checked before the first one is written."""

from __future__ import annotations

import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from ttt_bench.errors import DataError
from ttt_bench.util.atomic import replacing
from ttt_bench.util.progress import Progress
from ttt_bench.util.text import format_bytes

SUFFIXES = (".tar", ".tgz", ".tar.gz", ".zip")

MOST_TIMES = 100
"""An archive is refused if its members declare more than this multiple of its size. Pictures cannot
be compressed that much.
"""

SMALL = 16 << 20
"""Bytes to which any archive may unpack."""

_CHUNK = 1 << 20  # bytes that are copied at once
_BLOCK = 512  # bytes per block of tar
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)

Destination = Callable[[str], str | None]
"""Map a member's name to the relative path to which it is unpacked; None omits the member."""


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: its path in the archive.
        size: its declared size in bytes.
        number: its place among the files of the archive, counted from 0.
    """

    name: str
    size: int
    number: int = 0


def is_archive(path: Path) -> bool:
    """Return whether a path is a file with the suffix of an archive."""
    return path.is_file() and path.name.endswith(SUFFIXES)


def list_members(archive: Path, progress: Progress) -> list[Member]:
    """Return the files in an archive after a check of every member.

    If an archive contains a file several times, the last one counts, as for tar and unzip.

    Raises:
        DataError: the archive is missing, incomplete or of another format; or a member would be
            written outside the folder, or is a link or a device; or the declared sizes are too
            large. The message names the member.
    """
    _require_complete(archive)
    size = archive.stat().st_size
    members: dict[str, Member] = {}
    total = 0
    with progress.bar(f"reading {archive.name}", 1) as bar:
        for number, (name, declared) in enumerate(_members(archive)):
            member = Member(name, declared, number)
            total += member.size
            if total > SMALL + MOST_TIMES * size:
                raise DataError(
                    f"{archive}: refused at member {member.name}: up to it the archive declares "
                    f"{format_bytes(total)}, more than {MOST_TIMES} times its own size of "
                    f"{format_bytes(size)}, unlike the published archives; download it again from "
                    "its authors"
                )
            members["/".join(_parts(member.name))] = member
        bar.advance()
    return list(members.values())


def unpack(
    archive: Path,
    members: Iterable[Member],
    destination: Destination,
    folder: Path,
    progress: Progress,
) -> int:
    """Write the members of `list_members` that have a destination below a folder.

    Files that exist with the declared size are kept.

    Returns:
        The number of members with a destination.

    Raises:
        DataError: two members have one destination, or one lies below the other; the archive is
            damaged; or a member unpacks to another size than declared. The message names the
            member.
        OSError: a file cannot be written.
    """
    wanted = _destined(archive, members, destination)
    with progress.bar(f"unpacking {archive.name}", len(wanted)) as bar:
        for number, stream in _streams(archive, wanted):
            path, member = wanted[number]
            written = folder / path
            if not (written.is_file() and written.stat().st_size == member.size):
                written.parent.mkdir(parents=True, exist_ok=True)
                with replacing(written) as temporary, temporary.open("wb") as target:
                    copy_member(archive, member, stream, target)
            bar.advance()
    return len(wanted)


def _destined(
    archive: Path, members: Iterable[Member], destination: Destination
) -> dict[int, tuple[str, Member]]:
    """Return the path and the member of each file to unpack, by the member's number."""
    found: dict[str, Member] = {}
    for member in members:
        path = destination(member.name)
        if path is None:
            continue
        if path in found:
            why = f"a second file for {path}, in addition to {found[path].name}"
            raise _refused(archive, member.name, why)
        found[path] = member
    for path, member in found.items():
        for above in map(str, PurePosixPath(path).parents):
            if above in found:
                raise _refused(archive, member.name, f"below {found[above].name}, which is a file")
    return {member.number: (path, member) for path, member in found.items()}


def copy_member(archive: Path, member: Member, stream: IO[bytes], target: IO[bytes]) -> None:
    """Copy a member from its stream to a file.

    Raises:
        DataError: the stream differs from the declared size, or cannot be decompressed.
    """
    refused = f"{archive}: refused: member {member.name}"
    again = "the archive is damaged or forged, download it again"
    copied = 0
    while True:
        try:
            chunk = stream.read(_CHUNK)
        except (*_ZIP_ERRORS, tarfile.TarError) as error:
            raise DataError(
                f"{refused} does not unpack to the declared {member.size:,} bytes ({error}); "
                f"{again}"
            ) from error
        copied += len(chunk)
        if copied > member.size or (not chunk and copied < member.size):
            amount = "more" if chunk else "less"
            raise DataError(
                f"{refused} unpacks to {amount} than the declared {member.size:,} bytes; {again}"
            )
        if not chunk:
            return
        target.write(chunk)


def declared_size(members: Iterable[Member], destination: Destination) -> int:
    """Return the bytes of the members with a destination."""
    return sum(member.size for member in members if destination(member.name) is not None)


def below(*folders: str, any_case: bool = False) -> Destination:
    """Return a destination that keeps the files in these folders and drops the folders above.

    With `below("depth")`, `NYUDv2/depth/1.npy` becomes `depth/1.npy`.

    Args:
        folders: names of folders, with slashes between the folders of a path.
        any_case: whether the names in the archive may differ in case.
    """
    fold = str.casefold if any_case else str
    pieces = [tuple(fold(folder).split("/")) for folder in folders]

    def destination(name: str) -> str | None:
        parts = _parts(name)
        if not parts or parts[-1].startswith("."):
            return None
        folded = tuple(map(fold, parts))
        for start in range(len(parts) - 1):
            if any(folded[start : start + len(piece)] == piece for piece in pieces):
                return "/".join(parts[start:])
        return None

    return destination


def download_state(path: Path) -> tuple[int, int] | None:
    """Return (bytes present, bytes in all) of a file that aria2c has not finished downloading.

    Taskonomy's downloader runs aria2c, which may allocate the whole file at once, so that the size
    of the file does not tell. The second number is 0 if it is unknown. Returns None if the download
    is not in progress.
    """
    control = path.with_name(f"{path.name}.aria2")
    try:
        content = control.read_bytes()
        version, _, hashed = struct.unpack_from(">HII", content)
        order = ">" if version else "<"  # version 0 uses the byte order of the machine
        hashed = struct.unpack_from(f"{order}I", content, 6)[0] if not version else hashed
        piece, total, _, length = struct.unpack_from(f"{order}IQQI", content, 10 + hashed)
        field = content[34 + hashed : 34 + hashed + length]
    except (FileNotFoundError, struct.error):
        return (path.stat().st_size, 0) if control.exists() and path.exists() else None
    return min(piece * sum(byte.bit_count() for byte in field), total), total


def _require_complete(archive: Path) -> None:
    """Raise an error if a file is missing, is still being downloaded, or cannot be an archive."""
    if not archive.is_file():
        what = "not a file" if archive.exists() else "no such file"
        raise DataError(f"{archive}: {what}; give the path of a downloaded archive")
    state = download_state(archive)
    if state is not None:
        raise _incomplete(archive, state[0], f"{state[1]:,}" if state[1] else "more")
    try:
        with archive.open("rb") as file:
            start = file.read(_BLOCK)
    except OSError as error:
        raise DataError(
            f"{archive} cannot be read ({error.strerror}); check its permissions"
        ) from error
    if not start:
        raise DataError(f"{archive}: empty file (0 bytes); delete it and resume the download")
    if start.lstrip()[:1] == b"<" or (len(start) < _BLOCK and start.isascii()):
        kind = "a web page" if start.lstrip()[:1] == b"<" else "text"
        raise DataError(
            f"{archive}: not an archive: {archive.stat().st_size:,} bytes, looks like {kind}; "
            "the link is wrong, download the archive from another one"
        )


def _members(archive: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the declared size of each file of an archive, in its order."""
    return _zip_members(archive) if archive.name.endswith(".zip") else _tar_members(archive)


def _tar_members(archive: Path) -> Iterator[tuple[str, int]]:
    """Yield the files of a tar archive, which is read to its end."""
    end = 0
    try:
        with _tar(archive) as tar:
            for info in tar:
                _require_harmless(archive, info.name)
                if not (info.isfile() or info.isdir()):
                    kind = "a link" if info.issym() or info.islnk() else "a device or similar"
                    raise _refused(archive, info.name, kind)
                end = info.offset_data + -(-info.size // _BLOCK) * _BLOCK
                if info.isfile():
                    yield info.name, info.size
            _require_end(tar)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        if not isinstance(error, EOFError) and not re.search(
            "end of data|truncated|end-of-stream", str(error)
        ):
            raise DataError(
                f"{archive}: not a tar archive, or damaged ({error}); download it again"
            ) from error
        raise _incomplete(archive, archive.stat().st_size, _least(archive, end)) from error


def _require_end(tar: tarfile.TarFile) -> None:
    """Raise an error without the final block; tarfile accepts a cut between two members."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(_BLOCK) != bytes(_BLOCK):
        raise tarfile.ReadError("unexpected end of data")
    tar.fileobj.read(SMALL)  # to the end, where a compressed archive has its checksum


def _tar(archive: Path) -> tarfile.TarFile:
    """Open a tar archive; the content, not the name, tells whether it is compressed."""
    with archive.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return tarfile.open(archive, "r:gz") if compressed else tarfile.open(archive, "r:")


def _least(archive: Path, end: int) -> str:
    """Return the least number of bytes that a cut archive must have, in words."""
    size = archive.stat().st_size
    return f"at least {max(end + 2 * _BLOCK, size + 1):,}" if archive.suffix == ".tar" else "more"


def _zip_members(archive: Path) -> Iterator[tuple[str, int]]:
    try:
        with zipfile.ZipFile(archive) as content:
            for info in content.infolist():
                _require_harmless(archive, info.filename)
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    word = "a link" if kind == stat.S_IFLNK else "a device or similar"
                    raise _refused(archive, info.filename, word)
                if not info.is_dir():
                    yield info.filename, info.file_size
    except zipfile.BadZipFile as error:
        if "not a zip file" not in str(error):
            raise DataError(f"{archive}: damaged ({error}); download it again") from error
        raise _incomplete(archive, archive.stat().st_size, "more") from error


def _streams(archive: Path, wanted: Collection[int]) -> Iterator[tuple[int, IO[bytes]]]:
    """Yield (number, stream) for each wanted member."""
    if archive.name.endswith(".zip"):
        yield from _zip_streams(archive, wanted)
    else:
        yield from _tar_streams(archive, wanted)


def _zip_streams(archive: Path, wanted: Collection[int]) -> Iterator[tuple[int, IO[bytes]]]:
    with zipfile.ZipFile(archive) as content:
        files = [info for info in content.infolist() if not info.is_dir()]
        for number in wanted:
            try:
                stream = content.open(files[number])
            except _ZIP_ERRORS as error:
                raise DataError(
                    f"{archive}: member {files[number].filename} cannot be unpacked ({error}); "
                    "download it again"
                ) from error
            with stream:
                yield number, stream


def _tar_streams(archive: Path, wanted: Collection[int]) -> Iterator[tuple[int, IO[bytes]]]:
    """Yield the members in the order of the archive, which is read once."""
    with _tar(archive) as tar:
        files = (info for info in tar if info.isfile())
        for number, info in enumerate(files):
            if number in wanted:
                extracted = tar.extractfile(info)
                assert extracted is not None
                yield number, extracted


def _parts(name: str) -> tuple[str, ...]:
    """Split a name at slashes of both kinds."""
    return tuple(part for part in re.split(r"[/\\]", name) if part not in ("", "."))


def _require_harmless(archive: Path, name: str) -> None:
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in _parts(name):
        raise _refused(archive, name, "outside the folder")


def _refused(archive: Path, name: str, why: str) -> DataError:
    return DataError(
        f"{archive}: refused: member {name} is {why}; nothing was unpacked. The published archives "
        "have no such member: download it again from its authors"
    )


def _incomplete(archive: Path, there: int, wanted: str) -> DataError:
    return DataError(
        f"{archive}: archive incomplete: {there:,} of {wanted} bytes; "
        "delete it and resume the download"
    )
