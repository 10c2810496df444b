"""Runs on one results folder share its cells."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from support.runs import plan

from ttt_bench.results import schema, store
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.shared.claiming import Ended, Shared, attempts_at, share
from ttt_bench.sweep.shared.states import Appeared
from ttt_bench.sweep.shared.units import Kind, Unit
from ttt_bench.util.claims import Claims, Owner, claim_file

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory, room_cache: Path) -> list[Cell]:
    """Return the eight cells of a plan."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TTT_BENCH_CACHE", str(room_cache))
        return plan(tmp_path_factory.mktemp("plan"), methods="base,tent", seeds=(0, 1, 2, 3)).cells


def _compute(results: Path, cell: Cell, state: str) -> str:
    """Write a cell without numbers, and note that it was computed."""
    with (results / f"{cell.hash}.computed").open("a", encoding="utf-8") as file:
        file.write(".")
    time.sleep(0.02)
    attempts = store.read_attempts(cell.folder(results))["attempts"]
    manifest = {"state": state, "schema_version": schema.SCHEMA_VERSION, "config": cell.hash}
    files = store.CellFiles(manifest=manifest, attempts={"attempts": [*attempts, {}]})
    store.write_cell(cell.folder(results), files)
    return state


def _units(cells: list[Cell]) -> list[Unit]:
    return [Unit(kind=Kind.CELL, name=one.name, title="", needs=(), cell=one) for one in cells]


def _share(
    results: Path,
    cells: list[Cell],
    state: str,
    notice: Callable[[str], None] = print,
    *,
    attempts: Mapping[str, int] | None = None,
    run: str = "",
) -> Shared:
    ended = Ended(results=results, checkpoints=results, attempts=attempts or {})
    claims = Claims(results / ".claims", poll_seconds=0.02, run=run)

    def compute(unit: Unit) -> str:
        return _compute(results, unit.cell, state)

    return share(_units(cells), claims, ended.state, compute, notice, stored=Appeared(results).has)


@pytest.mark.parametrize("state", ["diverged", "failed"])
@pytest.mark.parametrize("runs", [2, 16])
def test_equal_runs_compute_every_cell_once(
    tmp_path: Path, cells: list[Cell], runs: int, state: str
) -> None:
    workers = [FORK.Process(target=_share, args=(tmp_path, cells, state)) for _ in range(runs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * runs
    assert [path.read_text() for path in tmp_path.glob("*.computed")] == ["."] * len(cells)
    assert {manifest["state"] for _, manifest in store.cells(tmp_path)} == {state}


def test_a_run_waits_for_the_cells_of_another_and_names_it(
    tmp_path: Path, cells: list[Cell]
) -> None:
    taken, notices = cells[2], []
    holder = Claims(tmp_path / ".claims").attempt(taken.folder(tmp_path).name)
    holder.__enter__()

    def told(message: str) -> None:
        notices.append(message)
        _compute(tmp_path, taken, "diverged")
        holder.__exit__(None, None, None)

    shared = _share(tmp_path, cells, "diverged", told)
    assert [unit.cell for unit, _ in shared.own] == [cell for cell in cells if cell is not taken]
    assert [unit.cell for unit in shared.skipped] == [taken]
    assert len(notices) == 1
    assert "waiting for work of process" in notices[0]


@pytest.mark.parametrize(("other", "told"), [("mine", 0), ("theirs", 1)])
def test_a_worker_says_nothing_of_other_workers_of_its_run(
    tmp_path: Path, cells: list[Cell], other: str, told: int
) -> None:
    notices: list[str] = []
    with Claims(tmp_path / ".claims", run=other).attempt(cells[0].name):
        waiting = Thread(
            target=_share,
            args=(tmp_path, cells[:1], "diverged", notices.append),
            kwargs={"run": "mine"},
        )
        waiting.start()
        time.sleep(0.1)
    waiting.join(20)
    assert len(notices) == told


def test_a_cell_that_failed_before_the_run_is_tried_again(
    tmp_path: Path, cells: list[Cell]
) -> None:
    _compute(tmp_path, cells[0], "failed")
    attempts = attempts_at(cells, tmp_path)
    assert attempts[cells[0].hash] == 1
    shared = _share(tmp_path, cells[:1], "failed", attempts=attempts)
    assert [state for _, state in shared.own] == ["failed"]


def test_a_unit_waits_for_those_that_it_needs(tmp_path: Path, cells: list[Cell]) -> None:
    first, second, third = _units(cells[:3])
    second = replace(second, needs=("training",))
    training = Unit(
        kind=Kind.TRAINING, name="training", title="", needs=(first.name,), cell=cells[0]
    )
    order: list[str] = []

    def compute(unit: Unit) -> str:
        order.append(unit.name)
        return "done"

    claims = Claims(tmp_path / ".claims", poll_seconds=0.02)
    share(
        [second, training, third, first],
        claims,
        lambda unit: None,
        compute,
        print,
        stored=lambda cell: False,
    )
    assert order == [third.name, first.name, "training", second.name]


def test_a_claim_that_is_listed_is_tried_only_if_nothing_else_is_left(
    tmp_path: Path, cells: list[Cell]
) -> None:
    gone = Owner(host="here", pid=2**22 + 1)  # no process has this number
    (tmp_path / ".claims").mkdir()
    (tmp_path / ".claims" / claim_file(cells[0].name)).write_text(gone.text)
    shared = _share(tmp_path, cells, "diverged")
    assert [unit.cell for unit, _ in shared.own] == [*cells[1:], cells[0]]


def test_cells_that_appear_are_stored_before_a_new_listing(
    tmp_path: Path, cells: list[Cell]
) -> None:
    _compute(tmp_path, cells[0], "failed")
    stored = Appeared(tmp_path).has
    assert not stored(cells[1])
    _compute(tmp_path, cells[0], "failed")
    _compute(tmp_path, cells[1], "failed")
    assert [stored(cell) for cell in cells[:3]] == [False, True, False]
