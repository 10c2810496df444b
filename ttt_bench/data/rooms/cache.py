"""Rendered images on disk: plain .npy arrays, read image by image.

A folder of arrays is complete or missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ttt_bench.data.array_folder import Arrays, Layout, Maps, Stored, open_or_make
from ttt_bench.data.rooms.looks import Look
from ttt_bench.network import Batch
from ttt_bench.util.hashing import hash_of, hash_source
from ttt_bench.util.progress import Progress

FORMAT = 2
CHUNK_PIXELS = 1 << 16  # rendered together: fits into the second-level cache of a processor
MILLIMETRES = 1000.0
UNIT = 32767.0

Render = Callable[[Look, int, Sequence[int], tuple[int, int]], Batch]


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


def _layout(size: tuple[int, int], count: int) -> Layout:
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
    about = {"format": FORMAT, "look": look.name, "seed": seed, "size": size, "count": count}
    return open_or_make(
        folder,
        _layout(size, count),
        title=f"rendering {look.name}",
        about=about,
        fill=lambda maps: _render_into(
            maps, look, seed, size, count, progress=progress, render=render
        ),
        progress=progress,
    )


def _render_into(
    maps: Maps,
    look: Look,
    seed: int,
    size: tuple[int, int],
    count: int,
    *,
    progress: Progress,
    render: Render,
) -> None:
    """Render the samples into arrays."""
    step = max(1, CHUNK_PIXELS // (size[0] * size[1]))
    chunks = [range(start, min(start + step, count)) for start in range(0, count, step)]

    def fill(chunk: range) -> int:
        for name, values in _encode(render(look, seed, chunk, size)).items():
            maps[name][chunk.start : chunk.stop] = values
        return len(chunk)

    with progress.bar(f"rendering {look.name}", count) as bar:
        for done in _in_threads(fill, chunks):
            bar.advance(done)


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
