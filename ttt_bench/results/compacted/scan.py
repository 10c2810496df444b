"""Find the cells of a results folder, and what tells whether their files have changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from ttt_bench.errors import BenchError
from ttt_bench.results.records import ATTEMPTS, MANIFEST
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.store.address import shown

CELLS = "cells"
"""The folder of the cells in a results folder."""
COMPACTED = "compacted"
"""The folder of the compacted copy in a results folder."""
TABLES = ("rows", "statistics", "source", "totals", "signals", "losses")
_OF_CELLS = frozenset({MANIFEST, ATTEMPTS, *(f"{name}.parquet" for name in TABLES)})


class Stamp(NamedTuple):
    """The state of a cell's files.

    Attributes:
        text: a hash of names, sizes and modification times of the files.
        newest: the latest modification time, in nanoseconds.
    """

    text: str
    newest: int


def cell_stamps(root: Path) -> dict[str, Stamp]:
    """Return the name `<pair>/<method>-<hash>` of every cell with its stamp, in order of path.

    Raises:
        BenchError: the folder does not exist or has no cell, or it cannot be read.
    """
    named = shown(root)
    with explained_reading(root):
        exists = root.is_dir()
    if not exists and root.exists():
        raise BenchError(f"{named} is not a folder; name a results folder")
    if not exists:
        raise BenchError(
            f"results folder {named} does not exist; `ttt-bench run --results {named}` creates it"
        )
    found = scan(root)
    if not found:
        raise BenchError(
            f"results folder {named} has no results; `ttt-bench run --results {named}` computes "
            "some"
        )
    return found


def scan(root: Path) -> dict[str, Stamp]:
    """Return the cells of `cell_stamps`; empty without any.

    Raises:
        DataError: a folder cannot be read.
    """
    found: dict[str, Stamp] = {}
    with explained_reading(root / CELLS):
        for pair in _folders(root / CELLS):
            for cell in _folders(pair):
                stamp = _stamp(cell)
                if stamp is not None:
                    found[f"{os.path.basename(pair)}/{os.path.basename(cell)}"] = stamp
    return found


def paths(root: Path) -> frozenset[str]:
    """Return `<pair>/<name>` of everything in the folders of pairs; empty without any.

    Raises:
        DataError: a folder cannot be read.
    """
    found: list[str] = []
    with explained_reading(root / CELLS):
        for pair in _folders(root / CELLS):
            with suppress(FileNotFoundError):
                found += (f"{os.path.basename(pair)}/{name}" for name in os.listdir(pair))
    return frozenset(found)


def _folders(parent: Path | str) -> list[str]:
    """Return the visible folders in a folder in order; empty if it is missing or a file."""
    try:
        with os.scandir(parent) as entries:
            return sorted(
                entry.path for entry in entries if entry.name[0] != "." and entry.is_dir()
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


def _stamp(folder: str) -> Stamp | None:
    """Return the stamp of a cell; None if the folder has no file of a cell."""
    try:
        with os.scandir(folder) as entries:
            files = sorted((entry.name, _status(entry)) for entry in entries)
    except FileNotFoundError:  # removed meanwhile
        return None
    if _OF_CELLS.isdisjoint(name for name, _ in files):
        return None
    return Stamp(_text(files), max(found.st_mtime_ns for _, found in files))


def _status(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except FileNotFoundError:  # a dangling link, or removed meanwhile
        return entry.stat(follow_symlinks=False)


def _text(files: Iterable[tuple[str, os.stat_result]]) -> str:
    lines = (f"{name} {found.st_size} {found.st_mtime_ns}" for name, found in files)
    return blake2b("\n".join(lines).encode(errors="surrogateescape"), digest_size=16).hexdigest()
