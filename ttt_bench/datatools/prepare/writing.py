"""Write a folder that appears when it is complete, and check the free space before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttt_bench.errors import DataError
from ttt_bench.util.atomic import TEMPORARY_MARK, explained, replacing

_RECIPE = "recipe.json"


HINT = (
    "free some space or make the folder writable. Finished files are kept: the same command resumes"
)
"""The end of the message if a file below a draft cannot be written."""


@contextmanager
def draft(target: Path, recipe: Mapping[str, Any]) -> Iterator[Path]:
    """A hidden folder that becomes `target` when the block ends well.

    Until then nothing reads it. What an interrupted block has made is there when it is entered
    again, and a file in it is whole if each is written with `replacing`.

    Args:
        recipe: what decides the content; a draft of another recipe is not continued.

    Raises:
        DataError: `target` exists, or a draft of another recipe does.
        BenchError: a file cannot be written.
    """
    if target.exists():
        raise DataError(
            f"{target} exists already; delete it to make it anew, or choose another folder"
        )
    folder = target.with_name(f".{target.name}.partial")
    with explained(target.parent, HINT):
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
    for path in folder.rglob(f".*{TEMPORARY_MARK}*"):
        path.unlink(missing_ok=True)
