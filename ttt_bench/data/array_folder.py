"""Folders of plain .npy arrays that the harness makes itself; each is complete or missing.

`meta.json` names the folder and has a digest of every array, which are checked before arrays are
used.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from ttt_bench.data.array_file import ArrayFile
from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.util.atomic import atomic_folder, remove_leftovers
from ttt_bench.util.claims import CLAIMS, Claims
from ttt_bench.util.hashing import hash_file
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.progress import Progress
from ttt_bench.util.quarantine import set_damaged_aside
from ttt_bench.util.stored import sealed

META = "meta.json"

Layout = Mapping[str, tuple[type, tuple[int, ...]]]
"""Name of an array -> type and shape."""
Arrays = dict[str, NDArray[Any]]
Stored = dict[str, ArrayFile]
Maps = dict[str, np.memmap[Any, np.dtype[Any]]]

_HINT = "set TTT_BENCH_CACHE to another folder"
_REMEDY = "it is set aside and made again"


class _Meta(BaseModel):
    name: str
    digests: dict[str, str]


def load(folder: Path, layout: Layout) -> Stored | None:
    """Return the arrays in a folder; None if the folder is missing.

    Raises:
        DamagedError: a file is missing or differs from what was written, or the folder has another
            name.
        DataError: a file cannot be read.
    """
    with explained_reading(folder):
        if not folder.is_dir():
            return None
    _require(folder / META)
    meta = sealed.read(folder / META, _Meta, _REMEDY)
    if meta["name"] != folder.name:
        raise DamagedError(folder / META, f"it belongs to {meta['name']}", _REMEDY)
    return {name: _opened(folder, name, meta["digests"], *layout[name]) for name in layout}


def open_or_make(
    folder: Path,
    layout: Layout,
    *,
    title: str,
    about: Mapping[str, Any],
    fill: Callable[[Maps], None],
    progress: Progress,
) -> Stored:
    """Return the arrays of a folder; make them first if they are missing or damaged.

    A damaged folder is moved to `quarantine/` in the cache folder.

    Args:
        folder: `<cache>/<kind>/<name>`.
        layout: its arrays.
        title: the work in messages, such as "rendering rooms".
        about: what the arrays contain, for `meta.json`.
        fill: writes the values.
        progress: shows notices.

    Raises:
        BenchError: the cache cannot be written.
    """
    arrays = _whole(folder, layout)
    if arrays is not None:
        return arrays
    claims = Claims(folder.parent / CLAIMS, hint=_HINT)
    with claims.waiting(folder.name, title, progress.notice):
        try:
            arrays = load(folder, layout)  # another process may have made them meanwhile
        except DamagedError as error:
            message = set_damaged_aside(error, folder.parents[1], folder)
            progress.notice(f"{message}; {title} again")
        if arrays is None:
            remove_leftovers(folder.parent)
            with atomic_folder(folder, _HINT) as draft:
                _make(draft, folder.name, layout, about, fill)
            arrays = _whole(folder, layout)
    if arrays is None:
        raise BenchError(
            f"{folder} differs from what was written; set TTT_BENCH_CACHE to another disk"
        )
    return arrays


def _whole(folder: Path, layout: Layout) -> Stored | None:
    """Return the arrays in a folder; None if they are missing or damaged."""
    try:
        return load(folder, layout)
    except DamagedError:
        return None


def _opened(
    folder: Path, name: str, digests: Mapping[str, str], dtype: type, shape: tuple[int, ...]
) -> ArrayFile:
    """Return an array of a folder after its digest was checked."""
    path = folder / f"{name}.npy"
    _require(path)
    with explained_reading(path):
        if hash_file(path) != digests.get(name):
            raise DamagedError(path, "its content differs from its digest", _REMEDY)
        found = ArrayFile(path)
    if found.dtype != dtype or found.shape != shape:
        raise DamagedError(path, "it has another shape", _REMEDY)
    return found


def _require(path: Path) -> None:
    with explained_reading(path):
        exists = path.is_file()
    if not exists:
        raise DamagedError(path, "it is missing", _REMEDY)


def _make(
    draft: Path,
    name: str,
    layout: Layout,
    about: Mapping[str, Any],
    fill: Callable[[Maps], None],
) -> None:
    """Write the arrays of a folder and its `meta.json`."""
    maps = {array: _reserved(draft / f"{array}.npy", *layout[array]) for array in layout}
    fill(maps)
    for values in maps.values():
        values.flush()
    maps.clear()
    digests = {array: hash_file(draft / f"{array}.npy") for array in layout}
    sealed.put(draft / META, {**about, "name": name, "digests": digests})


def _reserved(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    """Create an array file, reserve its space, and return it as a memory map.

    Without reserved space, a write into the map kills the process when the disk is full.

    Raises:
        OSError: the disk has too little space.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    size = path.stat().st_size
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    elif shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return array
