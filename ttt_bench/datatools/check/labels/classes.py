"""Count the pixels of each class, in every label space for which a data set has ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.files import Indexed, spread
from ttt_bench.data.label_spaces import LABEL_SPACES, MAX_IDS, LabelSpace
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.errors import DataError
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

MOST = 2_000
"""Number of label maps of a split that are counted, unless all are requested."""

Counts = dict[str, NDArray[np.int64]]
"""Pixels per id, for each kind of ids as label spaces name it."""


@dataclass(frozen=True, kw_only=True)
class LabelMaps:
    """The label maps of a split.

    Attributes:
        split: name of the split, for messages.
        frames: names and files.
        parts: the part that holds each kind of ids, as label spaces name it.
        decode: decodes the file of a part; raises DataError if the file cannot be used.
    """

    split: str
    frames: Indexed
    parts: Mapping[str, str]
    decode: Callable[[Path, str], NDArray[Any]]

    def count(self, index: int) -> Counts:
        """Return the pixels per id in one frame; empty if a file cannot be used."""
        counts: Counts = {}
        for ids, part in self.parts.items():
            try:
                labels = self.decode(self.frames.path(index, part), part)
            except DataError:
                return {}  # reported where files are decoded
            counts[ids] = np.bincount(labels.ravel(), minlength=_length(ids))
        return counts


def check_classes(maps: LabelMaps, progress: Progress, *, full: bool) -> Iterator[Finding]:
    """Yield the shares of the classes of each label space, and a warning per class without pixels.

    Args:
        full: count all label maps.
    """
    chosen = spread(len(maps.frames), len(maps.frames) if full else MOST)
    title = f"counting the classes of {maps.split}"
    totals: Counts = {ids: np.zeros(_length(ids), dtype=np.int64) for ids in maps.parts}
    for counts in map_in_threads(maps.count, chosen, title, progress):
        totals = {ids: total + counts.get(ids, 0) for ids, total in totals.items()}
    where = f"{maps.split} ({len(chosen)} of {len(maps.frames)} label maps)"
    for space in LABEL_SPACES.values():
        if totals.keys() & space.native.keys():
            yield from _check_space(space, totals, where)


def _check_space(space: LabelSpace, totals: Counts, where: str) -> Iterator[Finding]:
    pixels = _class_pixels(space, totals)
    every = max(int(next(iter(totals.values())).sum()), 1)
    shares = [f"{name} {count / every:.2%}" for name, count in pixels.items()]
    yield Finding.ok("classes", f"{space.name} in {where}: {', '.join(shares)}")
    for name in (name for name, count in pixels.items() if count == 0):
        message = (
            f"{space.name}: class {name} has no pixel in {where}; "
            "the IoU of a class that never occurs counts as 0"
        )
        yield Finding.warning("classes", message)


def _class_pixels(space: LabelSpace, totals: Counts) -> dict[str, int]:
    """Return the number of pixels per class of a label space."""
    pixels = dict.fromkeys(space.classes, 0)
    for ids in totals.keys() & space.native.keys():
        for name, group in zip(space.classes, space.native[ids], strict=True):
            pixels[name] += int(totals[ids][list(group)].sum())
    return pixels


def _length(ids: str) -> int:
    """Return the length of a table of counts that covers every id."""
    return max(256, MAX_IDS[ids] + 1)
