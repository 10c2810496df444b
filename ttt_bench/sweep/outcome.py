"""How a run ended, as its results folder says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttt_bench.results import records
from ttt_bench.results.failures import FailedCell
from ttt_bench.sweep.cell import Cell


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended.

    Attributes:
        computed: state -> number of cells that this run computed.
        kept: number of cells that were finished before.
        shared: state -> number of cells that other runs computed meanwhile.
        lost: cells that this run computed and that are no longer in the results folder.
        failed: the cells that failed, in this run or in another one meanwhile.
    """

    computed: dict[str, int]
    kept: int
    shared: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    failed: tuple[FailedCell, ...] = ()

    @property
    def incomplete(self) -> bool:
        """Whether a cell has failed or was lost."""
        return bool(self.lost or self.failed)


def failed_cells(cells: Sequence[Cell], results: Path) -> tuple[FailedCell, ...]:
    """Return cells that failed with the reasons that are stored."""
    return tuple(
        FailedCell(
            method=cell.method,
            pair=cell.opened.pair.name,
            protocol=cell.protocol,
            control=cell.control,
            seed=cell.seed,
            reason=str(records.read_manifest(cell.folder(results)).get("reason")),
            attempts=cell.folder(results) / records.ATTEMPTS,
        )
        for cell in cells
    )
