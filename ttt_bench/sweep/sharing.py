"""Share the cells of a sweep with other runs on the same results folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.results.schema import FINISHED
from ttt_bench.sweep.cell import Cell
from ttt_bench.util.claims import CLAIMS, Claims


@dataclass(frozen=True)
class Shared:
    """How the cells of a sweep ended.

    Attributes:
        own: (cell, state) of the cells that this run computed.
        others: states of the cells that other runs computed meanwhile.
    """

    own: list[tuple[Cell, str]]
    others: list[str]


def attempts_at(cells: Sequence[Cell], results: Path) -> dict[str, int]:
    """Return hash -> number of stored attempts of cells."""
    return {cell.hash: _attempts(cell, results) for cell in cells}


def share(
    cells: Sequence[Cell],
    results: Path,
    before: Mapping[str, int],
    compute: Callable[[Cell], str],
    notice: Callable[[str], None],
) -> Shared:
    """Compute every cell that no other run computes, and wait for the others.

    Args:
        cells: cells that were not finished when the run began.
        results: the results folder.
        before: the cells' `attempts_at` the start of the run. A cell that has failed since is not
            tried again.
        compute: computes and stores a cell, and returns its state.
        notice: called with a message that names another run that this one waits for.

    Raises:
        BenchError: the results folder cannot be written.
    """
    claims = Claims(results / CLAIMS, hint="choose another folder with --results")
    shared = Shared([], [])
    told: set[str] = set()
    waiting = list(cells)
    while waiting:
        busy: list[tuple[Cell, str]] = []
        for cell in waiting:
            with claims.attempt(cell.folder(results).name) as owner:
                if owner is not None:
                    busy.append((cell, str(owner)))
                    continue
                state = _state_by_others(cell, results, before[cell.hash])
                if state is None:
                    shared.own.append((cell, compute(cell)))
                else:
                    shared.others.append(state)
        if len(busy) == len(waiting):
            names = {owner_name for _, owner_name in busy}
            for name in sorted(names - told):
                notice(f"waiting for cells that {name} computes")
            told |= names
            time.sleep(claims.poll_seconds)
        waiting = [cell for cell, _ in busy]
    return shared


def _state_by_others(cell: Cell, results: Path, attempts: int) -> str | None:
    """Return the state of a cell that another run has computed since; None if none has."""
    state = cell.state(results)
    failed_since = state == "failed" and _attempts(cell, results) > attempts
    return state if state in FINISHED or failed_since else None


def _attempts(cell: Cell, results: Path) -> int:
    try:
        return len(store.read_attempts(cell.folder(results))["attempts"])
    except BenchError:
        return 0
