"""Find NYUD-v2 label maps whose ids were lowered by one while void stayed 0.

The normals decide: floors face up. If the id below that of floors faces up, ids were lowered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import file_vectors, to_harness
from ttt_bench.datatools.check.findings import Finding

_FLOOR = 2  # NYUD-v2's id
_LEAST = 0.005  # share of a picture
_UP = 0.7  # least mean cosine between the normals of a floor and up
_FEWEST = 3  # frames


class LoweredIds:
    """The directions of the surfaces with the ids of floors and below.

    Args:
        axes: the axes of the files' normals.
    """

    def __init__(self, axes: str) -> None:
        self._axes = axes
        self._up: dict[int, list[float]] = {_FLOOR: [], _FLOOR - 1: []}

    def add(self, labels: NDArray[Any], normals: NDArray[Any]) -> None:
        """Add a label map (H, W) and a normal map (H, W, 3) as stored in the files."""
        if labels.shape != normals.shape[:2]:
            return
        vectors = to_harness(file_vectors(normals), self._axes)
        there = (vectors != 0).any(axis=0)
        for ident, cosines in self._up.items():
            chosen = (labels == ident) & there
            if chosen.mean() >= _LEAST:
                cosines.append(float(-vectors[1][chosen].mean()))

    def findings(self, path: Path) -> Iterator[Finding]:
        """Yield a warning if the surfaces below the id of floors face up."""
        below, floors = self._up[_FLOOR - 1], self._up[_FLOOR]
        if len(below) < _FEWEST or np.median(below) < _UP:
            return
        if floors and np.median(floors) >= _UP:
            return
        message = (
            f"semseg: surfaces with id {_FLOOR - 1} (wall) face up, those with {_FLOOR} (floor) "
            "do not: ids have been lowered by one; take the archive's label maps, where void is 0 "
            "and the classes are 1..40"
        )
        yield Finding.warning("values", message, path)
