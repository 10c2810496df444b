"""PASCAL-Context's edges: borders between Context labels, one pixel wide. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttt_bench.data.listed.layout import Listing
from ttt_bench.data.pascal import decode
from ttt_bench.data.pascal.index import CONTEXT, EDGES
from ttt_bench.util.atomic import replacing
from ttt_bench.util.extras import import_optional
from ttt_bench.util.os_errors import explained
from ttt_bench.util.progress import Progress

_THREADS = 4


def label_edges(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (H, W): whether the Laplacian of labels (H, W) is not zero, thinned to one pixel.

    The Laplacian uses the four neighbours. Borders are mirrored without repeating the outermost row
    and column.

    Raises:
        DataError: scikit-image is not installed.
    """
    morphology = import_optional("skimage.morphology", "making PASCAL-Context's edges from labels")
    padded = np.pad(
        labels.astype(np.float64), 1, mode="reflect" if min(labels.shape) > 1 else "edge"
    )
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return np.asarray(morphology.thin(around != 4.0 * padded[1:-1, 1:-1]), dtype=np.bool_)


def keep(listing: Listing, progress: Progress) -> int:
    """Make and store the edges of all images of a list that have labels but no edges.

    Returns:
        The number of images whose edges were made.

    Raises:
        DataError: a label file is damaged.
        BenchError: the folder cannot be written.
    """
    folder = listing.root / EDGES.folder
    wanted = [name for name in listing.lacking("edge") if name in listing.files[CONTEXT]]
    with explained(folder):
        folder.mkdir(exist_ok=True)
        with progress.bar("making PASCAL-Context's edges", len(wanted)) as bar:
            for _ in _made(listing, folder, wanted):
                bar.advance()
    return len(wanted)


def _made(listing: Listing, folder: Path, names: list[str]) -> Iterator[None]:
    def make(name: str) -> None:
        edges = label_edges(decode.read(listing.files[CONTEXT][name], CONTEXT))
        with replacing(folder / f"{name}{EDGES.suffixes[0]}") as temporary:
            Image.fromarray(edges.astype(np.uint8) * np.uint8(255)).save(temporary, format="PNG")

    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(make, names)
