"""Files that are whole or not there, folders that appear when they are finished, and room for
both.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttt_bench.errors import DataError

_RECIPE = "recipe.json"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside a file, which takes its place when the block ends well and is
    removed otherwise.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}-{threading.get_ident()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """What fails to be written below a folder is said with what to do.

    Raises:
        DataError: the disk is full, the folder cannot be written, or the like.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise DataError(
            f"{where}: {error.strerror or error}; make room, or make {folder} writable. What is finished is kept: the "
            "same command goes on from there"
        ) from error


@contextmanager
def draft(target: Path, recipe: Mapping[str, Any]) -> Iterator[Path]:
    """A hidden folder that becomes `target` when the block ends well.

    Until then nothing reads it. What an interrupted block has made is there when it is entered
    again, and a file in it is whole if each is written with `replacing`.

    Args:
        recipe: what decides the content; a draft of another recipe is not continued.

    Raises:
        DataError: `target` exists, a draft of another recipe does, or something cannot be written.
    """
    if target.exists():
        raise DataError(
            f"{target} exists already; delete it to make it anew, or choose another folder"
        )
    folder = target.with_name(f".{target.name}.partial")
    with explained(target.parent):
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / _RECIPE
        wanted = json.dumps(recipe, indent=1, sort_keys=True) + "\n"
        if note.exists() and note.read_text(encoding="utf-8") != wanted:
            raise DataError(
                f"{folder} is what an interrupted command with other options has made; repeat that command, or delete "
                f"the folder. Its options: {' '.join(note.read_text(encoding='utf-8').split())}"
            )
        with replacing(note) as path:
            path.write_text(wanted, encoding="utf-8")
        yield folder
        _sweep(folder)
        note.unlink()
        folder.replace(target)


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """See that there is room on a folder's disk.

    Raises:
        DataError: there is not; says how much is needed and how much is free.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise DataError(
            f"{purpose} needs {in_bytes(needed)} and the disk of {folder} has {in_bytes(free)} free; make room, or "
            "choose a folder on another disk"
        )


def in_bytes(count: float) -> str:
    """A size for people, such as "2.8 GB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


def _sweep(folder: Path) -> None:
    """Remove temporary files of a process that was killed outright."""
    for where, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and ".tmp-" in name:
                Path(where, name).unlink(missing_ok=True)
