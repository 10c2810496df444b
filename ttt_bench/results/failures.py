"""Cells that failed, and their causes in words; one cause is stated once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttt_bench.errors import BenchError
from ttt_bench.util.store.address import shown
from ttt_bench.util.text import listed

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """A cell that failed in a run.

    Attributes:
        method: name of the method.
        pair: name of the pair.
        protocol: name of the protocol.
        control: name of the control.
        seed: the seed.
        reason: the cause in one line.
        attempts: the file with the traceback of every attempt.
    """

    method: str
    pair: str
    protocol: str
    control: str
    seed: int
    reason: str
    attempts: Path

    @property
    def name(self) -> str:
        """Return method, pair and protocol in words."""
        method = f"{self.method} ({self.control})" if self.control != "none" else self.method
        return f"{method} on {self.pair}, {self.protocol}"


class SweepError(BenchError):
    """Cells of a sweep failed or were lost; everything else is computed and stored.

    Attributes:
        rows: all rows of the results folder, as `ttt_bench.run` returns them.
        failed: the cells that failed.
    """

    def __init__(
        self, failed: tuple[FailedCell, ...], lost: int, rows: pd.DataFrame, results: Path
    ) -> None:
        counts = {"failed": len(failed), "no longer stored": lost}
        words = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        first = (
            f"cells without results: {words}; the rows of all others are in {shown(results)} and "
            "in the attribute `rows` of this error"
        )
        super().__init__("\n".join([first, *describe_failures(failed)]))
        self.rows, self.failed = rows, failed


def describe_failures(failed: Sequence[FailedCell]) -> list[str]:
    """Return one line per cause: the cells that failed, the cause, and a file with a traceback."""
    causes: dict[str, list[FailedCell]] = {}
    for cell in failed:
        causes.setdefault(cell.reason, []).append(cell)
    return [_line(reason, cells) for reason, cells in causes.items()]


def _line(reason: str, cells: Sequence[FailedCell]) -> str:
    seeds: dict[str, list[str]] = {}
    for cell in cells:
        seeds.setdefault(cell.name, []).append(str(cell.seed))
    names = listed([f"{name} (seed {', '.join(own)})" for name, own in seeds.items()])
    return f"{names} failed: {reason}; traceback: {cells[0].attempts}"
