"""How much of each shared class there is, in every label space that a data set has ids for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.files import Indexed, spread
from ttt_bench.data.label_spaces import LABEL_SPACES, MAX_IDS
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.errors import DataError
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

MOST = 2_000
"""Label maps of a split that are counted, unless all are."""


def check_classes(
    split: str,
    frames: Indexed,
    parts: Mapping[str, str],
    decode: Callable[[Path, str], NDArray[Any]],
    full: bool,
    progress: Progress,
) -> Iterator[Finding]:
    """A line for each label space with the shares of its classes, a warning for each class without
    a pixel.

    Args:
        split: which frames these are, for messages.
        parts: of each set of ids, as label spaces name it, the part that holds it.
    """
    at = spread(len(frames), len(frames) if full else MOST)

    def count(index: int) -> dict[str, NDArray[np.int64]] | None:
        try:
            return {
                ids: _counted(decode(frames.path(index, part), part), ids)
                for ids, part in parts.items()
            }
        except DataError:
            return None  # named where files are decoded

    totals = {ids: np.zeros(max(256, MAX_IDS[ids] + 1), dtype=np.int64) for ids in parts}
    for counts in map_in_threads(count, at, f"counting the classes of {split}", progress):
        for ids, values in (counts or {}).items():
            totals[ids] += values
    where = f"{split} ({len(at)} of {len(frames)} label maps)"
    for name, space in LABEL_SPACES.items():
        if any(ids in totals for ids in space.native):
            found = np.zeros(len(space.classes), dtype=np.int64)
            for ids in totals.keys() & space.native.keys():
                found += [totals[ids][list(group)].sum() for group in space.native[ids]]
            every = max(int(next(iter(totals.values())).sum()), 1)
            shares = ", ".join(
                f"{label} {n / every:.2%}" for label, n in zip(space.classes, found, strict=True)
            )
            yield Finding("ok", "classes", f"{name} in {where}: {shares}")
            for label in (label for label, n in zip(space.classes, found, strict=True) if n == 0):
                message = f"{name}: class {label} has no pixel in {where}; its IoU counts as 0 where it never occurs"
                yield Finding("warning", "classes", message)


def _counted(labels: NDArray[Any], ids: str) -> NDArray[np.int64]:
    return np.bincount(labels.ravel(), minlength=max(256, MAX_IDS[ids] + 1))
