"""Archives unpacked with suspicion: every member is looked at before the first is written."""

from __future__ import annotations

import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ttt_bench.datatools.prepare.writing import in_bytes
from ttt_bench.errors import DataError
from ttt_bench.util.atomic import replacing
from ttt_bench.util.progress import Progress

SUFFIXES = (".tar", ".tgz", ".tar.gz", ".zip")

MOST_TIMES = 100
"""An archive that announces more than so many times its own size is refused: pictures do not
shrink like that.
"""

_SMALL = 16 << 20  # bytes that any archive may unpack to
_PIECE = 1 << 20
_BLOCK = 512  # bytes of a block of tar
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)

Place = Callable[[str], str | None]
"""From a member's name the path, relative to a folder, that it is unpacked to; None leaves it
out.
"""


@dataclass(frozen=True)
class Member:
    """A file in an archive, and how many bytes it is announced to have."""

    name: str
    size: int


def is_archive(path: Path) -> bool:
    """By its name."""
    return path.is_file() and path.name.endswith(SUFFIXES)


def list_members(archive: Path, progress: Progress) -> list[Member]:
    """The files in an archive, once everything in it has been found harmless.

    Raises:
        DataError: it is missing, incomplete or no archive; or a member would be written outside the
            folder, is a link or a device, or all of them announce too much; names the member.
    """
    _require_whole(archive)
    most = _SMALL + MOST_TIMES * archive.stat().st_size
    members, total = [], 0
    with progress.bar(f"looking into {archive.name}", 1) as bar:
        for member in (
            _zip_members(archive) if archive.name.endswith(".zip") else _tar_members(archive)
        ):
            total += member.size
            if total > most:
                raise DataError(
                    f"{archive}: refused at member {member.name}: with it the archive announces {in_bytes(total)}, "
                    f"more than {MOST_TIMES} times its own {in_bytes(archive.stat().st_size)}; none of the published "
                    "archives does"
                )
            members.append(member)
        bar.advance()
    return members


def unpack(
    archive: Path, members: Iterable[Member], place: Place, folder: Path, progress: Progress
) -> int:
    """Write the files of `list_members` that have a place; those that are there in their size
    already are left alone.

    Returns:
        How many files have a place.

    Raises:
        DataError: the archive is damaged, or a file unpacks to another size than announced; names
        the member.
        OSError: something cannot be written.
    """
    wanted = {
        member.name: (path, member.size)
        for member in members
        if (path := place(member.name)) is not None
    }
    with progress.bar(f"unpacking {archive.name}", len(wanted)) as bar:
        for name, source in _opened(archive, wanted):
            target_name, size = wanted[name]
            written = folder / target_name
            if not (written.is_file() and written.stat().st_size == size):
                written.parent.mkdir(parents=True, exist_ok=True)
                with replacing(written) as temporary, temporary.open("wb") as target:
                    _copy(archive, name, size, source, target)
            bar.advance()
    return len(wanted)


def announced(members: Iterable[Member], place: Place) -> int:
    """Bytes of the files that have a place."""
    return sum(member.size for member in members if place(member.name) is not None)


def below(*folders: str) -> Place:
    """Keeps what lies in one of these folders, whatever is above it: `NYUDv2/depth/1.npy`
    becomes `depth/1.npy`.
    """
    pieces = [tuple(folder.split("/")) for folder in folders]

    def place(name: str) -> str | None:
        parts = _parts(name)
        if not parts or parts[-1].startswith("."):
            return None
        for start in range(len(parts) - 1):
            if any(parts[start : start + len(piece)] == piece for piece in pieces):
                return "/".join(parts[start:])
        return None

    return place


def download_state(path: Path) -> tuple[int, int] | None:
    """(bytes there, bytes in all) of a file that aria2c, which Taskonomy's downloader runs, has not
    finished.

    Its size says nothing, since room may be taken for the whole at once. None where the download is
    not in progress.
    """
    control = path.with_name(f"{path.name}.aria2")
    try:
        content = control.read_bytes()
        version, _, hashed = struct.unpack_from(">HII", content)
        order = ">" if version else "<"  # version 0 has the machine's order
        hashed = struct.unpack_from(f"{order}I", content, 6)[0] if not version else hashed
        piece, total, _, length = struct.unpack_from(f"{order}IQQI", content, 10 + hashed)
        field = content[34 + hashed : 34 + hashed + length]
    except (FileNotFoundError, struct.error):
        return (path.stat().st_size, 0) if control.exists() and path.exists() else None
    return min(piece * sum(byte.bit_count() for byte in field), total), total


def _require_whole(archive: Path) -> None:
    if not archive.is_file():
        raise DataError(
            f"{archive}: no such file; give the path of an archive that has been downloaded"
        )
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
            f"{archive}: not an archive: {archive.stat().st_size:,} bytes, looks like {kind}; the link has led to "
            "something else, download it again"
        )


def _tar_members(archive: Path) -> Iterator[Member]:
    end = 0
    try:
        with _tar(archive) as tar:
            for info in tar:
                _require_harmless(archive, info.name)
                if not (info.isfile() or info.isdir()):
                    kind = "a link" if info.issym() or info.islnk() else "a device or the like"
                    raise _refused(archive, info.name, kind)
                end = info.offset_data + -(-info.size // _BLOCK) * _BLOCK
                if info.isfile():
                    yield Member(info.name, info.size)
            # tarfile takes a cut between two members for the end
            assert tar.fileobj is not None
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(_BLOCK) != bytes(_BLOCK):
                raise tarfile.ReadError("unexpected end of data")
            tar.fileobj.read(_SMALL)  # to the end, where a compressed archive keeps its check sum
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        if not isinstance(error, EOFError) and not re.search(
            "end of data|truncated|end-of-stream", str(error)
        ):
            raise DataError(
                f"{archive}: not a tar archive, or damaged ({error}); download it again"
            ) from error
        raise _incomplete(archive, archive.stat().st_size, _least(archive, end)) from error


def _tar(archive: Path) -> tarfile.TarFile:
    with archive.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return tarfile.open(archive, "r:gz") if compressed else tarfile.open(archive, "r:")


def _least(archive: Path, end: int) -> str:
    """How many bytes the archive must have at least, where its members say so."""
    size = archive.stat().st_size
    return f"at least {max(end + 2 * _BLOCK, size + 1):,}" if archive.suffix == ".tar" else "more"


def _zip_members(archive: Path) -> Iterator[Member]:
    try:
        with zipfile.ZipFile(archive) as content:
            for info in content.infolist():
                _require_harmless(archive, info.filename)
                kind = stat.S_IFMT(info.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _refused(
                        archive,
                        info.filename,
                        "a link" if kind == stat.S_IFLNK else "a device or the like",
                    )
                if not info.is_dir():
                    yield Member(info.filename, info.file_size)
    except zipfile.BadZipFile as error:
        if "not a zip file" not in str(error):
            raise DataError(f"{archive}: damaged ({error}); download it again") from error
        raise _incomplete(archive, archive.stat().st_size, "more") from error


def _opened(archive: Path, wanted: dict[str, tuple[str, int]]) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, stream) of the wanted members, in the archive's order."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as content:
            for name in wanted:
                try:
                    source = content.open(name)
                except _ZIP_ERRORS as error:
                    raise DataError(
                        f"{archive}: member {name} cannot be unpacked ({error})"
                    ) from error
                with source:
                    yield name, source
        return
    with _tar(archive) as tar:
        for info in tar:
            if info.isfile() and info.name in wanted:
                extracted = tar.extractfile(info)
                assert extracted is not None
                yield info.name, extracted


def _copy(archive: Path, name: str, size: int, source: IO[bytes], target: IO[bytes]) -> None:
    copied = 0
    while True:
        try:
            piece = source.read(_PIECE)
        except (*_ZIP_ERRORS, tarfile.TarError) as error:
            raise DataError(
                f"{archive}: refused: member {name} does not unpack to the {size:,} bytes announced ({error}); the "
                "archive is damaged or forged, download it again"
            ) from error
        copied += len(piece)
        if copied > size or (not piece and copied < size):
            raise DataError(
                f"{archive}: refused: member {name} unpacks to {'more' if piece else 'less'} than the {size:,} bytes "
                "announced; the archive is damaged or forged, download it again"
            )
        if not piece:
            return
        target.write(piece)


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[/\\]", name) if part not in ("", "."))


def _require_harmless(archive: Path, name: str) -> None:
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) or ".." in _parts(name):
        raise _refused(archive, name, "outside the folder")


def _refused(archive: Path, name: str, why: str) -> DataError:
    return DataError(
        f"{archive}: refused: member {name} is {why}; nothing was unpacked. None of the published archives has such a "
        "member: download it again, from its authors"
    )


def _incomplete(archive: Path, there: int, wanted: str) -> DataError:
    return DataError(
        f"{archive}: archive incomplete: {there:,} of {wanted} bytes; delete it and resume the download"
    )
