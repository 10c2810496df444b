"""Evaluation batches and segments of a target stream."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ttt_bench.data.batching import split_batches
from ttt_bench.data.shifts.views import StreamedDataset


def target_batches(target: StreamedDataset, size: int) -> list[list[int]]:
    """Return the positions of the stream in every evaluation batch of `size` images.

    A batch does not cross the border between two segments of a `continual` stream.
    """
    continual = target.stream.kind == "continual"
    groups: dict[int, list[int]] = defaultdict(list)
    for index, position in enumerate(target.positions):
        groups[position.segment if continual else 0].append(index)
    batches: list[list[int]] = []
    for group in groups.values():
        for places in split_batches(len(group), size):
            batches.append([group[place] for place in places])
    return batches


def segments(target: StreamedDataset) -> list[dict[str, Any]]:
    """Return name and positions of each segment; empty if the stream has fewer than two shifts."""
    names = target.stream.names
    if len(names) < 2:
        return []
    groups: list[list[int]] = [[] for _ in names]
    for index, position in enumerate(target.positions):
        groups[position.segment].append(index)
    return [
        {"name": name, "positions": positions}
        for name, positions in zip(names, groups, strict=True)
    ]
