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
from ttt_bench.util.claims import Claims, claim_file
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
    work = _Work(claims=claims, ended=ended, compute=compute, stored=stored)
    open_names = {unit.name for unit in units}
    told: set[str] = set()
    waiting = list(units)
    while waiting:
        left = work.walk(waiting, open_names, all_claims=False)
        if len(left) == len(waiting):
            work.owners.clear()
            left = work.walk(waiting, open_names, all_claims=True)
        if len(left) == len(waiting):
            for name in sorted(work.owners - told):
                notice(f"waiting for work of {name}")
            told |= work.owners
            time.sleep(claims.poll_seconds)
        waiting = left
    return work.shared


@dataclass(kw_only=True)
class _Work:
    """The work of one process on the units of a sweep; the first four fields are as for `share`.

    Attributes:
        shared: how the units ended.
        owners: the processes of other runs whose claims were in the way.
    """

    claims: Claims
    ended: Callable[[Unit], str | None]
    compute: Callable[[Unit], str]
    stored: Callable[[Cell], bool]
    shared: Shared = field(default_factory=Shared)
    owners: set[str] = field(default_factory=set)

    def walk(self, units: Sequence[Unit], open_names: set[str], *, all_claims: bool) -> list[Unit]:
        """Try units in their order, and return those that are left.

        Args:
            units: the units.
            open_names: the names of all units that are left, from which those that end are removed.
            all_claims: whether to try units that a listing shows as claimed. That finds claims of
                ended processes, but each takes several operations on files.
        """
        left: list[Unit] = []
        taken = self._taken(all_claims)
        for unit in units:
            if not open_names.isdisjoint(unit.needs):
                left.append(unit)
            elif unit.kind is Kind.CELL and self.stored(unit.cell):
                self.shared.skipped.append(unit)
                open_names.remove(unit.name)
            elif claim_file(unit.name) not in taken and self._try(unit):
                open_names.remove(unit.name)
                taken = self._taken(all_claims)
            else:
                left.append(unit)
        return left

    def _taken(self, all_claims: bool) -> frozenset[str]:
        return frozenset() if all_claims else self.claims.files()

    def _try(self, unit: Unit) -> bool:
        """Compute a unit, unless another process computes it or has; return whether it ended."""
        with self.claims.attempt(unit.name) as owner:
            if owner is not None:
                if not self.claims.run or owner.run != self.claims.run:
                    self.owners.add(str(owner))
                return False
            state = self.ended(unit)
            if state is None:
                self.shared.own.append((unit, self.compute(unit)))
            else:
                self.shared.others.append((unit, state))
            return True


def from_another_place(units: Sequence[Unit]) -> list[Unit]:
    """Return the units from a random one on, so that processes rarely try the same ones."""
    start = random.randrange(len(units)) if units else 0
    return [*units[start:], *units[:start]]


def _attempts(cell: Cell, results: Path) -> int:
    try:
        return len(store.read_attempts(cell.folder(results))["attempts"])
    except BenchError:
        return 0
