"""Pack a results folder into one archive that ordinary programs unpack.

Equal folders give equal archives: entries are in order of their names and have fixed times, owners
and modes.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from ttt_bench.errors import BenchError
from ttt_bench.results.maintenance.contents import Kind, Part, contents, require_results
from ttt_bench.results.maintenance.schema_text import schema_text
from ttt_bench.results.maintenance.verify import findings
from ttt_bench.results.records import read_manifest
from ttt_bench.util.atomic import atomic_file
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.progress import Progress

SUMS = "SHA256SUMS"
"""The file of the archive that `sha256sum -c` reads."""
README = "README.md"
RESULTS = (Kind.CELL, Kind.MEASUREMENT, Kind.STUDY, Kind.TUNED)
MODELS = (Kind.CHECKPOINT, Kind.TIME, Kind.DIVERGED, Kind.DATA)
YEAR = (1980, 1, 1, 0, 0, 0)
"""The time of all entries of a .zip file, the first that it can state."""
LEVEL = 6
MODE = 0o644
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A written archive.

    Attributes:
        path: the archive.
        files: number of files, without `SHA256SUMS` and `README.md`.
        size: bytes of the archive.
        left_out: a line per damaged or unreadable unit.
    """

    path: Path
    files: int
    size: int
    left_out: tuple[str, ...]


class Packer(Protocol):
    """An open archive."""

    def add(self, name: str, size: int, file: IO[bytes]) -> None:
        """Add a file of `size` bytes."""
        ...


def export(root: Path, to: Path, progress: Progress, *, checkpoints: bool = False) -> Exported:
    """Pack the whole cells, measurements and studies of a results folder.

    Args:
        root: the results folder.
        to: the archive; its suffix decides on the format.
        progress: shows one bar.
        checkpoints: whether source models and source statistics are packed too.

    Raises:
        BenchError: the format is unknown, the folder is not a results folder or changed meanwhile,
            or the archive cannot be written.
    """
    opened = _format(to)
    require_results(root)
    kinds = (*RESULTS, *MODELS) if checkpoints else RESULTS
    parts = [part for part in contents(root) if part.kind in kinds]
    whole, left_out = _whole(parts)
    if not whole:
        raise BenchError("\n".join([f"{root} has no whole results to export", *left_out]))
    files = [path for part in whole for path in _files(part)]
    top = root.resolve().name
    with (
        atomic_file(to, "choose another file with --to", (tarfile.TarError,)) as temporary,
        opened(temporary) as packer,
        progress.bar("packing", len(files)) as bar,
    ):
        sums: dict[str, str] = {}
        for path in files:
            name = path.relative_to(root).as_posix()
            sums[name] = _add_file(packer, f"{top}/{name}", path)
            bar.advance()
        readme = schema_text().encode()
        sums[README] = _add_bytes(packer, f"{top}/{README}", readme)
        listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        _add_bytes(packer, f"{top}/{SUMS}", listing.encode())
        _check_unchanged(root, whole, sums)
    return Exported(path=to, files=len(files), size=to.stat().st_size, left_out=tuple(left_out))


def _whole(parts: Sequence[Part]) -> tuple[list[Part], list[str]]:
    """Return the whole units, and a line per damaged or unreadable file of the others."""
    whole: list[Part] = []
    problems: list[str] = []
    for part in parts:
        found = findings(part)
        problems += [finding.problem for finding in found]
        whole += [] if found else [part]
    return whole, problems


def _files(part: Part) -> Iterator[Path]:
    """Yield the files of a unit; a cell has those that its manifest names, and its history."""
    if not part.path.is_dir():
        yield part.path
        return
    for path in sorted(part.path.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            yield path


def _check_unchanged(root: Path, parts: Sequence[Part], sums: dict[str, str]) -> None:
    """Compare the packed files with the digests in the manifests.

    Raises:
        BenchError: a file changed while it was packed.
    """

    for part in parts:
        if part.kind not in (Kind.CELL, Kind.MEASUREMENT):
            continue
        for name, digest in read_manifest(part.path).get("files", {}).items():
            packed = sums.get((part.path / name).relative_to(root).as_posix(), "")
            if not packed.startswith(digest):
                raise BenchError(f"{part.path / name} changed while it was packed; export again")


def _add_file(packer: Packer, name: str, path: Path) -> str:
    """Add a file and return its SHA-256 in hexadecimal digits."""
    with explained_reading(path), path.open("rb") as file:
        hashing = _Hashing(file)
        packer.add(name, path.stat().st_size, hashing)  # type: ignore[arg-type]
    return hashing.digest


def _add_bytes(packer: Packer, name: str, content: bytes) -> str:
    packer.add(name, len(content), io.BytesIO(content))
    return sha256(content).hexdigest()


class _Hashing:
    """A file that hashes what is read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._hash.update(content)
        return content

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


class _Zip:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, size: int, file: IO[bytes]) -> None:
        entry = zipfile.ZipInfo(name, YEAR)
        entry.create_system, entry.external_attr = 3, (0o100000 | MODE) << 16
        entry.compress_type, entry.file_size = zipfile.ZIP_DEFLATED, size
        with self._archive.open(entry, "w") as target:
            while part := file.read(_CHUNK):
                target.write(part)


class _Tar:
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive

    def add(self, name: str, size: int, file: IO[bytes]) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, MODE
        self._archive.addfile(entry, file)


@contextmanager
def _zip(path: Path) -> Iterator[Packer]:
    with zipfile.ZipFile(path, "w", compresslevel=LEVEL) as archive:
        yield _Zip(archive)


@contextmanager
def _tar(path: Path) -> Iterator[Packer]:
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=LEVEL, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        yield _Tar(archive)


FORMATS: dict[str, Callable[[Path], Any]] = {".zip": _zip, ".tar.gz": _tar, ".tgz": _tar}
"""Suffix of an archive -> function that opens it."""


def _format(to: Path) -> Callable[[Path], Any]:
    """Return the function that opens an archive of this name.

    Raises:
        BenchError: no format has its suffix.
    """
    for suffix, opened in FORMATS.items():
        if to.name.lower().endswith(suffix):
            return opened
    raise BenchError(f"{to}: unknown format; end the name with {', '.join(FORMATS)}")
