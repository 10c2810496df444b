"""The states of many cells, without reading those that have not changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ttt_bench.results.compacted.dataset import known_states
from ttt_bench.results.compacted.scan import CELLS, paths
from ttt_bench.results.leftovers import PARTIAL
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.shared.pace import Pace

LOOK_SECONDS = 1.0
"""Least seconds between two listings of the cells."""


def cell_states(cells: Iterable[Cell], results: Path) -> dict[str, str]:
    """Return hash -> `Cell.state` of cells.

    The files of a cell are only read if they have changed since the cell was compacted.

    Raises:
        DataError: a file cannot be read.
    """
    known, present = known_states(results), paths(results)
    return {
        cell.hash: known.get(cell.path) or _state(cell, results, present=present) for cell in cells
    }


def _state(cell: Cell, results: Path, *, present: frozenset[str]) -> str:
    if cell.path in present:
        return cell.state(results)
    pair, _, name = cell.path.rpartition("/")
    return "interrupted" if f"{pair}/.{name}{PARTIAL}" in present else "missing"


@dataclass
class Appeared:
    """The cells that were stored since this object was made.

    A listing, which is seldom renewed, answers for most of them. The file system is asked about
    each of the others.

    Attributes:
        results: the results folder.
    """

    results: Path
    _cells: str = field(init=False, repr=False)
    _before: frozenset[str] = field(init=False, repr=False)
    _new: frozenset[str] = field(default=frozenset(), init=False, repr=False)
    _pace: Pace = field(default_factory=lambda: Pace(LOOK_SECONDS), init=False, repr=False)

    def __post_init__(self) -> None:
        self._cells = str(self.results / CELLS)
        self._before = paths(self.results)

    def has(self, cell: Cell) -> bool:
        """Return whether a cell is known to have been stored. It may be older than that.

        Raises:
            DataError: the folder cannot be read.
        """
        if self._pace.due:
            with self._pace.timed():
                self._new = paths(self.results) - self._before
        path = cell.path
        if path in self._new or path in self._before:
            return path in self._new
        return os.path.isdir(f"{self._cells}/{path}")  # the folder appears as a whole
