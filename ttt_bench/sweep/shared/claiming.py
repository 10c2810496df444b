"""Compute the units of a sweep together with other processes on the same results folder."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.results.checkpoints.diverged import diverged_path
from ttt_bench.results.schema import FINISHED
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.shared.shards import Shard
from ttt_bench.sweep.shared.units import Kind, Unit
from ttt_bench.train.chain import checkpoint_path
from ttt_bench.util.claims import Claims
from ttt_bench.util.store import mirror


@dataclass(frozen=True)
class Shared:
    """How the units of a sweep ended.

    Attributes:
        own: (unit, state) of the units that this process computed.
        others: (unit, state) of the units that other processes computed meanwhile.
        skipped: the units of cells that other processes stored meanwhile, and that were not read.
    """

    own: list[tuple[Unit, str]] = field(default_factory=list)
    others: list[tuple[Unit, str]] = field(default_factory=list)
    skipped: list[Unit] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Find out whether another process has ended a unit.

    Attributes:
        results: the results folder.
        checkpoints: the folder of checkpoints.
        attempts: the cells' `attempts_at` the start of the run. A cell that has failed since is not
            tried again.
    """

    results: Path
    checkpoints: Path
    attempts: Mapping[str, int]

    def state(self, unit: Unit) -> str | None:
        """Return the state of a unit that has ended; None if it has to be computed."""
        if unit.kind is Kind.CELL:
            return self._cell_state(unit.cell)
        if unit.shard is not None:
            return self._shard_state(unit.cell, unit.shard)
        path = checkpoint_path(self.checkpoints, unit.name)
        for end, state in ((path, "done"), (diverged_path(path), "diverged")):
            mirror.fetch(end)
            if end.exists():
                return state
        return None

    def _shard_state(self, cell: Cell, shard: Shard) -> str | None:
        try:
            return "done" if shard.is_complete(cell, self.results) else None
        except BenchError:
            return None  # it is measured again

    def _cell_state(self, cell: Cell) -> str | None:
        mirror.fetch(cell.folder(self.results))
        state = cell.state(self.results)
        before = self.attempts.get(cell.hash, 0)
        failed_since = state == "failed" and _attempts(cell, self.results) > before
        return state if state in FINISHED or failed_since else None


def attempts_at(cells: Sequence[Cell], results: Path) -> dict[str, int]:
    """Return hash -> number of stored attempts of cells."""
    return {cell.hash: _attempts(cell, results) for cell in cells}


def share(
    units: Sequence[Unit],
    claims: Claims,
    ended: Callable[[Unit], str | None],
    compute: Callable[[Unit], str],
    notice: Callable[[str], None],
    *,
    stored: Callable[[Cell], bool],
) -> Shared:
    """Compute every unit that no other process computes, and wait for the others.

    A unit starts when all units that it needs have ended, whatever their state. Of the units that
    can start, the first one that no other process has claimed is computed.

    Args:
        units: the units. Those at the front are tried first, if they can start.
        claims: the claims of units.
        ended: returns the state of a unit that another process has ended, or None.
        compute: computes and stores a unit, and returns its state.
        notice: called with a message that names another process that this one waits for, unless
            it is a worker of the same run.
        stored: returns whether another process is known to have stored a cell. Then the unit is
            neither claimed nor read.

    Raises:
        BenchError: the results folder cannot be written.
    """
    shared = Shared()
    open_names = {unit.name for unit in units}
    told: set[str] = set()
    waiting = list(units)
    while waiting:
        busy: set[str] = set()
        left: list[Unit] = []
        for unit in waiting:
            if not open_names.isdisjoint(unit.needs):
                left.append(unit)
                continue
            if unit.kind is Kind.CELL and stored(unit.cell):
                shared.skipped.append(unit)
                open_names.remove(unit.name)
                continue
            with claims.attempt(unit.name) as owner:
                if owner is not None:
                    if not claims.run or owner.run != claims.run:
                        busy.add(str(owner))
                    left.append(unit)
                    continue
                state = ended(unit)
                if state is None:
                    shared.own.append((unit, compute(unit)))
                else:
                    shared.others.append((unit, state))
                open_names.remove(unit.name)
        if len(left) == len(waiting):
            for name in sorted(busy - told):
                notice(f"waiting for work of {name}")
            told |= busy
            time.sleep(claims.poll_seconds)
        waiting = left
    return shared


def from_another_place(units: Sequence[Unit]) -> list[Unit]:
    """Return the units from a random one on, so that processes rarely try the same ones."""
    start = random.randrange(len(units)) if units else 0
    return [*units[start:], *units[:start]]


def _attempts(cell: Cell, results: Path) -> int:
    try:
        return len(store.read_attempts(cell.folder(results))["attempts"])
    except BenchError:
        return 0
