"""Names of the splits of every data set. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from typing import NamedTuple

from ttt_bench.errors import unknown

SPLITS: dict[str, str] = {
    "train": "images of the source to train on",
    "val": "images of the source that no model is trained on",
    "test": "images of the target",
    "tune": "other images of the target, to choose settings on",
}
"""Every split by name, with its use."""


def require_split(split: str) -> None:
    """Raise a BenchError that lists the splits if `split` is not one of them."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)


class Overlap(NamedTuple):
    """Two splits that share images, and the names of these, sorted."""

    first: str
    second: str
    images: list[str]


def overlaps(images: Mapping[str, Collection[str]]) -> Iterator[Overlap]:
    """Yield every two splits that share images.

    Args:
        images: split -> names of its images, each of which means one image in all splits.
    """
    for first, second in combinations(images, 2):
        shared = sorted(set(images[first]) & set(images[second]))
        if shared:
            yield Overlap(first, second, shared)
