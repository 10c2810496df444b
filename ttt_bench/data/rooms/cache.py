"""Rendered images on disk: plain .npy arrays, read image by image.

A folder of arrays is complete or missing.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ttt_bench.data.array_file import ArrayFile
from ttt_bench.data.rooms.looks import Look
from ttt_bench.errors import BenchError, DataError
from ttt_bench.network import Batch
from ttt_bench.util.atomic import atomic_folder, remove_leftovers
from ttt_bench.util.claims import CLAIMS, Claims
from ttt_bench.util.hashing import hash_file, hash_of, hash_source
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.progress import Progress

FORMAT = 2
CHUNK_PIXELS = 1 << 16  # rendered together: fits into the second-level cache of a processor
MILLIMETRES = 1000.0
UNIT = 32767.0

_MISSING = (FileNotFoundError, NotADirectoryError)

Render = Callable[[Look, int, Sequence[int], tuple[int, int]], Batch]
Arrays = dict[str, NDArray[Any]]
Stored = dict[str, ArrayFile]

_HINT = "set TTT_BENCH_CACHE to another folder"


def fingerprint(look: Look, seed: int, size: tuple[int, int], count: int) -> str:
    """Return a hash of everything that the content depends on: the renderer's code and the request.

    Comments and docstrings of the code do not count.
    """
    request = {"format": FORMAT, "look": asdict(look), "seed": seed, "size": size, "count": count}
    return hash_of([code_fingerprint(Path(__file__).parent), request], 16)


@cache
def code_fingerprint(folder: Path) -> str:
    """Return a hash of the code in a folder without its comments and docstrings."""
    files = sorted(folder.glob("*.py"))
    return hash_of([(path.name, hash_source(path.read_text(encoding="utf-8"))) for path in files])


def _layout(size: tuple[int, int], count: int) -> dict[str, tuple[type, tuple[int, ...]]]:
    height, width = size
    return {
        "images": (np.uint8, (count, 3, height, width)),
        "semseg": (np.uint8, (count, height, width)),
        "depth": (np.uint16, (count, height, width)),
        "normals": (np.int16, (count, 3, height, width)),
        "edge": (np.uint8, (count, height, width)),
    }


def _encode(batch: Batch) -> Arrays:
    """Return a batch as stored: images in 1/255, depth in millimetres, normals in 1/32767."""
    targets = {name: value.numpy() for name, value in batch.targets.items()}
    return {
        "images": np.rint(batch.images.numpy() * 255.0).astype(np.uint8),
        "semseg": targets["semseg"].astype(np.uint8),
        "depth": np.rint(np.minimum(targets["depth"][:, 0] * MILLIMETRES, 65535.0)).astype(
            np.uint16
        ),
        "normals": np.rint(targets["normals"] * UNIT).astype(np.int16),
        "edge": targets["edge"][:, 0].astype(np.uint8),
    }


def decode(arrays: Stored, indices: Sequence[int]) -> Batch:
    """Return stored samples as a batch, in the order of `indices`."""

    def take(name: str) -> torch.Tensor:
        values = arrays[name].take(indices)
        return torch.from_numpy(values.astype(np.int64 if name == "semseg" else np.float32))

    normals = take("normals")
    x, y, z = normals.unbind(1)
    length = (x * x + y * y + z * z).sqrt()
    return Batch(
        take("images") / 255.0,
        {
            "semseg": take("semseg"),
            "depth": take("depth")[:, None] / MILLIMETRES,
            "normals": normals / length[:, None],
            "edge": take("edge")[:, None],
        },
    )


def load(folder: Path, size: tuple[int, int], count: int) -> Stored | None:
    """Return the arrays in a folder, or None if they are missing or damaged.

    Raises:
        DataError: a file cannot be read.
    """
    try:
        with explained_reading(folder):
            return _opened(folder, size, count)
    except (DataError, ValueError, LookupError, TypeError) as error:
        if isinstance(error, DataError) and not isinstance(error.__cause__, _MISSING):
            raise
        return None


def _opened(folder: Path, size: tuple[int, int], count: int) -> Stored:
    """Return the arrays of `load`, whose digests are checked.

    Raises:
        ValueError: a file differs from what was written.
    """
    written = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["digests"]
    arrays: Stored = {}
    for name, (dtype, shape) in _layout(size, count).items():
        path = folder / f"{name}.npy"
        if hash_file(path) != written[name]:
            raise ValueError(f"{path} differs from its digest")
        arrays[name] = ArrayFile(path)
        if arrays[name].dtype != dtype or arrays[name].shape != shape:
            raise ValueError(f"{path} has another shape")
    return arrays


def open_or_render(
    look: Look,
    seed: int,
    size: tuple[int, int],
    count: int,
    *,
    folder: Path,
    progress: Progress,
    render: Render,
) -> Stored:
    """Return the arrays of a folder; render them first if they are missing or damaged.

    Raises:
        BenchError: the cache cannot be written.
    """
    arrays = load(folder, size, count)
    if arrays is not None:
        return arrays
    claims = Claims(folder.parent / CLAIMS, hint=_HINT)
    with claims.waiting(folder.name, f"the rendering of {look.name}", progress.notice):
        arrays = load(folder, size, count)  # another process may have rendered them meanwhile
        if arrays is None:
            if folder.exists():
                progress.notice(f"{folder} is damaged; rendering {look.name} again")
                shutil.rmtree(folder, ignore_errors=True)
            remove_leftovers(folder.parent)
            with atomic_folder(folder, _HINT) as draft:
                _render_into(draft, look, seed, size, count, progress=progress, render=render)
            arrays = load(folder, size, count)
    if arrays is None:
        raise BenchError(
            f"{folder} differs from what was written; set TTT_BENCH_CACHE to another disk"
        )
    return arrays


def _render_into(
    draft: Path,
    look: Look,
    seed: int,
    size: tuple[int, int],
    count: int,
    *,
    progress: Progress,
    render: Render,
) -> None:
    """Render the samples into the arrays of a folder."""
    layout = _layout(size, count)
    arrays = {
        name: _reserved(draft / f"{name}.npy", dtype, shape)
        for name, (dtype, shape) in layout.items()
    }
    step = max(1, CHUNK_PIXELS // (size[0] * size[1]))
    chunks = [range(start, min(start + step, count)) for start in range(0, count, step)]

    def fill(chunk: range) -> int:
        for name, values in _encode(render(look, seed, chunk, size)).items():
            arrays[name][chunk.start : chunk.stop] = values
        return len(chunk)

    with progress.bar(f"rendering {look.name}", count) as bar:
        for done in _in_threads(fill, chunks):
            bar.advance(done)
    for array in arrays.values():
        array.flush()
    arrays.clear()
    digests = {name: hash_file(draft / f"{name}.npy") for name in layout}
    meta = {
        "format": FORMAT,
        "look": look.name,
        "seed": seed,
        "size": size,
        "count": count,
        "digests": digests,
    }
    (draft / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _in_threads(work: Callable[[range], int], chunks: list[range]) -> Iterator[int]:
    """Work on chunks in parallel, with one thread per operation.

    The renderer's operations are too short to be split among threads, and split operations stall
    when other programs use a core.
    """
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from pool.map(work, chunks)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


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
