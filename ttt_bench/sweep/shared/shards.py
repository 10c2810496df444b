"""Shards: parts of a cell whose batches do not depend on each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ttt_bench.protocols import protocol_of
from ttt_bench.results.leftovers import PARTIAL, SHARD
from ttt_bench.sweep.cell import Cell
from ttt_bench.util import tensor_file
from ttt_bench.util.store import mirror


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Consecutive batches of a cell.

    Attributes:
        number: the number of the shard, from 0.
        of: the number of shards of the cell.
        start: the first batch.
        stop: the batch after the last one.
    """

    number: int
    of: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Return the shard's part of the names of files and claims."""
        return f"{SHARD}{self.number}-of-{self.of}"

    def path(self, cell: Cell, results: Path) -> Path:
        """Return the file of what the shard has measured; it is complete after the last batch."""
        return cell.folder(results).with_name(f".{cell.name}{self.name}{PARTIAL}")

    def is_complete(self, cell: Cell, results: Path) -> bool:
        """Return whether the shard of a cell has been measured.

        Raises:
            DamagedError: its file is damaged.
            DataError: its file cannot be read.
        """
        path = self.path(cell, results)
        mirror.fetch(path)
        return path.exists() and int(tensor_file.description(path)["unit"]) == self.stop


def shards_of(cell: Cell, wanted: int) -> tuple[Shard, ...]:
    """Return the shards of a cell; empty if it is not split.

    Args:
        cell: the cell.
        wanted: the number of shards; a cell with fewer batches has one shard per batch.
    """
    if wanted == 1 or cell.reason is not None or not protocol_of(cell.protocol).independent_batches:
        return ()
    batches = len(cell.opened.batches)
    of = min(wanted, batches)
    borders = [batches * number // of for number in range(of + 1)]
    return tuple(
        Shard(number=number, of=of, start=borders[number], stop=borders[number + 1])
        for number in range(of if of > 1 else 0)
    )
