"""What brings a mirror and its store together, file by file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ttt_bench.util.atomic import replacing
from ttt_bench.util.store.remote import Object

RECORDS = ".synced"
"""The folder of a mirror with one file per folder of results."""


@dataclass(frozen=True)
class Stamp:
    """A file of the mirror: its size in bytes and the time of its last change in nanoseconds."""

    size: int
    time: int


@dataclass(frozen=True)
class Synced:
    """A file of the mirror and its object at the last moment at which they were equal."""

    local: Stamp
    version: str


class Action(Enum):
    """What makes a file of the mirror and its object equal."""

    NOTHING = "nothing"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    REMOVE = "remove the local file"


def action(local: Stamp | None, stored: Object | None, synced: Synced | None) -> Action:
    """Return what makes a file of the mirror and its object equal.

    The store's file takes precedence if both have changed. A local file that was never in the store
    is new; one that was there before has been removed there.
    """
    changed_here = local is not None and (synced is None or synced.local != local)
    if stored is None:
        if local is None:
            return Action.NOTHING
        return Action.UPLOAD if changed_here else Action.REMOVE
    if local is None or synced is None or synced.version != stored.version:
        return Action.DOWNLOAD
    return Action.UPLOAD if changed_here else Action.NOTHING


def stamp(path: Path) -> Stamp | None:
    """Return the stamp of a file; None if it does not exist."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stamp(found.st_size, found.st_mtime_ns)


def read_records(root: Path, folder: str) -> dict[str, Synced]:
    """Return the records of the files in one folder of a mirror; empty if they are damaged.

    Without its record a file is downloaded again, so a lost record costs only time.
    """
    try:
        found = json.loads(_record_path(root, folder).read_text(encoding="utf-8"))
        return {name: Synced(Stamp(size, at), version) for name, (size, at, version) in found}
    except (OSError, ValueError, TypeError):
        return {}


def change_records(root: Path, folder: str, changes: Mapping[str, Synced | None]) -> None:
    """Add records of files in one folder of a mirror; None removes one."""
    merged = {**read_records(root, folder), **changes}
    lines = [(n, (s.local.size, s.local.time, s.version)) for n, s in merged.items() if s]
    path = _record_path(root, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(lines) + "\n", encoding="utf-8")


def _record_path(root: Path, folder: str) -> Path:
    return root / RECORDS / folder / "files.json"
