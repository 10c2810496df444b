"""Digests of every file of a data set, which `data check --full` stores. Imports no torch.

They are lines of text in `ttt-bench-digests.tsv` in the data set's folder. If that folder is
read-only, they are in the user's cache folder. Lines are appended while files are hashed, so that
an interrupted check resumes. The last line of a file counts; an incomplete line is ignored.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

from ttt_bench.errors import BenchError
from ttt_bench.util.os_errors import explained, explained_reading
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.paths import cache_folder
from ttt_bench.util.progress import Progress

NAME = "ttt-bench-digests.tsv"
"""The file's name in the data set's folder."""

_FLUSHED = 200  # files after whose digests the text file is flushed


class Entry(NamedTuple):
    """What is known of a file.

    Attributes:
        size: in bytes.
        changed: the time of its last modification in nanoseconds.
        digest: of its content.
        first: the digest of the content that the first full check found at this size.
    """

    size: int
    changed: int
    digest: str
    first: str


Digests = Mapping[str, Entry]
"""Entries by path below the data set's folder."""


class Comparison(NamedTuple):
    """A file compared with its entry.

    Attributes:
        now: the file's entry as it is now; None if it was never hashed.
        same: whether its content is that of the last full check.
    """

    now: Entry | None
    same: bool


def key_of(folder: Path, path: Path) -> str:
    """Return a file's path below the data set's folder, with slashes."""
    return Path(os.path.relpath(path, folder)).as_posix()


def read_digests(folder: Path) -> Digests:
    """Return the digests of a data set's files; empty if no full check has been made.

    Raises:
        DataError: the file of the digests cannot be read.
    """
    found: dict[str, Entry] = {}
    for path in _places(folder):
        if path.is_file():
            with explained_reading(path):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found |= dict(entry for line in lines if (entry := _parsed(line)) is not None)
    return found


def stored_at(folder: Path) -> Path:
    """Return the file that has the digests of a data set's files: the last one if there are two."""
    return [path for path in _places(folder) if path.is_file()][-1]


def hash_files(folder: Path, paths: Sequence[Path], progress: Progress) -> Digests:
    """Hash the files that are new or changed since the last call, and store their digests.

    Returns:
        The entries of these files before the call; empty without an earlier full check.

    Raises:
        DataError: a file cannot be read.
        BenchError: the digests cannot be written to the folder, nor to the user's cache.
    """
    known = read_digests(folder)
    todo = [path for path in paths if not _unchanged(path, known.get(key_of(folder, path)))]
    entries = map_in_threads(partial(_entry, folder, known), todo, "hashing all files", progress)
    _store(folder, entries)
    return known


def compare(
    folder: Path, known: Digests, paths: Sequence[Path], progress: Progress
) -> list[Comparison]:
    """Compare files with their entries; files with another size or time are hashed again.

    The new time of a file with the same content is stored, if possible.

    Raises:
        DataError: a file cannot be read.
    """
    entries = [known.get(key_of(folder, path)) for path in paths]
    pairs = zip(paths, entries, strict=True)
    again = [path for path, entry in pairs if entry and not _unchanged(path, entry)]
    work = partial(_entry, folder, known)
    hashed = dict(map_in_threads(work, again, "hashing changed files", progress)) if again else {}
    moved = {key: entry for key, entry in hashed.items() if entry.digest == known[key].digest}
    with suppress(BenchError):
        _store(folder, moved.items())
    return [
        Comparison(now := hashed.get(key_of(folder, path), entry), _same(now, entry))
        for path, entry in zip(paths, entries, strict=True)
    ]


def _same(now: Entry | None, entry: Entry | None) -> bool:
    return now is not None and entry is not None and now.digest == entry.digest


def _entry(folder: Path, known: Digests, path: Path) -> tuple[str, Entry]:
    """Return the entry of a file as it is now."""
    key = key_of(folder, path)
    before = known.get(key)
    with explained_reading(path):
        status = path.stat()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
    kept = before is not None and before.size == status.st_size
    first = before.first if before is not None and kept else digest
    return key, Entry(status.st_size, status.st_mtime_ns, digest, first)


def _unchanged(path: Path, entry: Entry | None) -> bool:
    """Return whether a file has the size and time of its entry.

    Raises:
        DataError: the file cannot be read.
    """
    if entry is None:
        return False
    with explained_reading(path):
        status = path.stat()
    return (status.st_size, status.st_mtime_ns) == (entry.size, entry.changed)


def _places(folder: Path) -> Iterator[Path]:
    """Yield where the digests of a folder may be."""
    yield folder / NAME
    with suppress(BenchError):
        name = hashlib.sha256(str(folder.resolve()).encode(errors="replace")).hexdigest()[:16]
        yield cache_folder() / "digests" / f"{name}.tsv"


def _parsed(line: str) -> tuple[str, Entry] | None:
    try:
        size, changed, digest, first, key = line.split("\t")
        return json.loads(key), Entry(int(size), int(changed), digest, first)
    except ValueError:
        return None


def _store(folder: Path, entries: Iterable[tuple[str, Entry]]) -> None:
    """Append entries to the file of the digests in the first place that can be written.

    Raises:
        BenchError: no place can be written; the message names the last one.
    """
    with _opened(folder) as file:
        for number, (key, entry) in enumerate(entries):
            file.write("\t".join([*map(str, entry), json.dumps(key)]) + "\n")
            if number % _FLUSHED == 0:
                file.flush()


def _opened(folder: Path) -> TextIO:
    """Return a file of the digests, open for appending and after a complete line."""
    *others, last = _places(folder)
    for path in others:
        with suppress(BenchError):
            # the superuser could write in spite of the mode
            if path.parent.stat().st_mode & 0o222:
                return _opened_at(path)
    return _opened_at(last)


def _opened_at(path: Path) -> TextIO:
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
        if file.tell():
            file.write("\n")
        return file
