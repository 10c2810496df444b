"""Find label maps that were resized like pictures, or that are noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttt_bench.datatools.check.findings import Finding

_APART = 2  # pixels between two steps of one blended border, at most
_FEWEST = 200  # pairs of near steps that are needed to judge
_MOST_SHARE = 0.25  # share of steps that have a near one; labels have fewer
_MOST_CHANGES = 0.5  # share of neighbours with different ids; label maps have a few percent
_MOST_SAME = 0.75  # share of near pairs with the same direction; unrelated ids give about a half


class Steps(NamedTuple):
    """Numbers of changes of the id along rows and columns.

    Attributes:
        all: changes from one pixel to the next.
        near: pairs of consecutive changes that are at most two pixels apart.
        same: those of the pairs that both rise or both fall.
    """

    all: int
    near: int
    same: int


def count_steps(labels: NDArray[Any]) -> Steps:
    """Return the changes of the id in a label map (H, W)."""
    rows, columns = (_along_rows(part) for part in (labels, labels.T))
    return Steps(*(a + b for a, b in zip(rows, columns, strict=True)))


def _along_rows(labels: NDArray[Any]) -> Steps:
    changes = np.sign(np.diff(labels.astype(np.int32), axis=1))
    row, column = np.nonzero(changes)
    values = changes[row, column]
    # consecutive changes of a row
    near = (row[1:] == row[:-1]) & (column[1:] - column[:-1] <= _APART)
    same = near & (values[1:] == values[:-1])
    return Steps(len(values), int(near.sum()), int(same.sum()))


class LabelSteps:
    """The steps in the label maps of the decoded frames."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._steps = Steps(0, 0, 0)
        self._pixels = 0

    def add(self, labels: NDArray[Any]) -> None:
        """Add a label map (H, W) as stored in the file."""
        found = count_steps(labels)
        self._pixels += labels.size
        self._steps = Steps(*(a + b for a, b in zip(self._steps, found, strict=True)))

    def findings(self, path: Path | None) -> Iterator[Finding]:
        """Yield a warning if ids are noise, or are averages in thin bands along borders."""
        every, near, same = self._steps
        changes = every / max(2 * self._pixels, 1)
        if changes > _MOST_CHANGES:
            message = (
                f"{self._name}: {changes:.0%} of neighbouring pixels have different ids: this is "
                "noise, not a label map; take the original files"
            )
            yield Finding.warning("values", message, path)
            return
        if near < _FEWEST or near < _MOST_SHARE * every or same < _MOST_SAME * near:
            return
        message = (
            f"{self._name}: {same / max(near, 1):.0%} of the thin bands along borders have an id "
            "between those of both sides: the maps were resized like pictures, which makes ids of "
            "other classes; resize label maps to the nearest pixel"
        )
        yield Finding.warning("values", message, path)
