"""Write a folder that appears when it is complete, and check the free space before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttt_bench.errors import DataError
from ttt_bench.util.atomic import TEMPORARY_MARK, replacing
from ttt_bench.util.os_errors import explained
from ttt_bench.util.text import format_bytes

_RECIPE = "recipe.json"

RESUMES = "finished files are kept, and the same command resumes"
"""The end of the message if a file below a draft cannot be written."""


@contextmanager
def draft(target: Path, recipe: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a hidden folder that is renamed to `target` after the block.

    Loaders ignore it. If the block is interrupted, its files stay, and the next call with the same
    recipe resumes with them. Each file is complete if it was written with `replacing`.

    Args:
        recipe: everything that determines the content.

    Raises:
        DataError: `target` exists, or a draft of another recipe does.
        BenchError: a file cannot be written.
    """
    if target.exists():
        raise DataError(
            f"{target} exists already; delete it to make it again, or choose another folder"
        )
    folder = target.with_name(f".{target.name}.partial")
    with explained(target.parent, note=RESUMES):
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, recipe)
        yield folder
        _remove_temporary_files(folder)
        (folder / _RECIPE).unlink()
        folder.replace(target)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as .npy or .png, by the suffix of the path, in place of any other file.

    The file is made in memory, because NumPy does not pass on the system's error if a disk is full
    after a part of an array.
    """
    content = BytesIO()
    if path.suffix == ".npy":
        np.save(content, np.ascontiguousarray(array))
    else:
        Image.fromarray(np.ascontiguousarray(array)).save(content, format="PNG")
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


def require_space(folder: Path, needed: int, purpose: str) -> None:
    """Raise an error if the disk of a folder has too little free space.

    Args:
        folder: need not exist yet.
        needed: bytes.
        purpose: what needs the space, as the subject of the message.

    Raises:
        DataError: the message states the needed and the free space.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DataError(
            f"{purpose} needs {format_bytes(needed)} and the disk of {folder} has "
            f"{format_bytes(free)} free; free some space, or choose a folder on another disk"
        )


def _claim(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Write the recipe into a draft, or check that an existing one is the same."""
    path = folder / _RECIPE
    wanted = json.dumps(recipe, indent=1, sort_keys=True) + "\n"
    found = path.read_text(encoding="utf-8") if path.exists() else wanted
    if found != wanted:
        raise DataError(
            f"{folder} was made by an interrupted command with other options; repeat that command, "
            f"or delete the folder. Its options: {' '.join(found.split())}"
        )
    with replacing(path) as temporary:
        temporary.write_text(wanted, encoding="utf-8")


def _remove_temporary_files(folder: Path) -> None:
    """Remove files that a killed process left unfinished."""
    for path in folder.rglob(f".*{TEMPORARY_MARK}*"):
        path.unlink(missing_ok=True)
