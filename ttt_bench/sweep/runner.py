"""Run a sweep: source models, adaptation and storage, cell by cell."""

from __future__ import annotations

import platform
import socket
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ttt_bench.adapt.device import device_name, find_device, free_memory
from ttt_bench.errors import BenchError, DamagedError, DivergedError
from ttt_bench.results import schema, store
from ttt_bench.results.leftovers import clean
from ttt_bench.results.schema import FINISHED
from ttt_bench.results.timed_work import TIMED, Stopwatch, timed_now
from ttt_bench.sweep.cell import Cell, Ending, manifest
from ttt_bench.sweep.contract import Verdicts, contract_record, refresh
from ttt_bench.sweep.forecast.work import adapting_work
from ttt_bench.sweep.measure import CellRun, tables
from ttt_bench.sweep.outcome import Outcome, failed_cells
from ttt_bench.sweep.plan import Sweep
from ttt_bench.sweep.shared.claiming import (
    Ended,
    Shared,
    attempts_at,
    from_another_place,
    share,
)
from ttt_bench.sweep.shared.shards import Shard
from ttt_bench.sweep.shared.states import Appeared, cell_states
from ttt_bench.sweep.shared.units import Kind, Unit, pending_units
from ttt_bench.sweep.source_data import remember_source
from ttt_bench.train.net import build_net
from ttt_bench.train.trainer import Trainer
from ttt_bench.util.claims import CLAIMS, Claims
from ttt_bench.util.code.error_place import describe
from ttt_bench.util.process import fixed_process, named_operation
from ttt_bench.util.progress import Progress
from ttt_bench.util.quarantine import set_aside
from ttt_bench.util.store import mirror
from ttt_bench.util.store.address import shown

SAVE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """What one attempt at a cell adds to its files.

    Attributes:
        ending: how it ended.
        tables: tables and examples by name; empty without numbers.
        details: further entries of the attempt: its times, or a traceback.
    """

    ending: Ending
    tables: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


class Runner:
    """Runs a sweep into its results folder; finished cells there are kept.

    Args:
        sweep: the cells.
        progress: shows long work.
        save_seconds: seconds between two saves of unfinished work; below 0, every unit is saved.
        verdicts: verdicts of the contract's checks; others of other packages count as unchecked.
        attempts: hash -> number of attempts at a failed cell after which it is tried again; by
            default, those that are stored when the run begins.
        worker_of: identifies the run that this process is a worker of; empty for other processes.

    Raises:
        BenchError: the request's device is not available.
    """

    def __init__(
        self,
        sweep: Sweep,
        progress: Progress,
        save_seconds: float = SAVE_SECONDS,
        *,
        verdicts: Verdicts | None = None,
        attempts: Mapping[str, int] | None = None,
        worker_of: str = "",
    ) -> None:
        self.sweep, self.request, self.progress = sweep, sweep.request, progress
        self.save_seconds, self.verdicts = save_seconds, verdicts or {}
        self._attempts, self._causes = attempts, set[str]()
        self._worker_of = worker_of
        self.device = find_device(sweep.request.device, deterministic=sweep.request.deterministic)
        self.trainer = Trainer(
            folder=sweep.checkpoints,
            device=self.device,
            progress=progress,
            save_seconds=save_seconds,
            train_devices=sweep.request.train_devices,
        )

    def run(self) -> Outcome:
        """Compute every cell that is not finished.

        Raises:
            BenchError: the data are damaged, or the results folder cannot be written.
        """
        with fixed_process(deterministic=self.request.deterministic):
            if self.request.threads is not None:
                torch.set_num_threads(self.request.threads)
            return self._run()

    def _run(self) -> Outcome:
        results, cells = self.request.results, self.sweep.cells
        states = cell_states(cells, results)
        pending = [cell for cell in cells if states[cell.hash] not in FINISHED]
        self._refresh_verdicts([cell for cell in cells if states[cell.hash] in FINISHED])
        checkpoints = self.sweep.checkpoints
        clean(results, checkpoints)
        if not pending:  # the folder may be read-only
            return Outcome(computed={}, kept=len(cells))
        attempts = attempts_at(pending, results) if self._attempts is None else self._attempts
        ended = Ended(results=results, checkpoints=checkpoints, attempts=attempts)
        store.check_writable(results)
        self._prepare(pending)
        units = pending_units(pending, checkpoints, self.request.shards)
        hint = "choose another folder with --results"
        claims = Claims(results / CLAIMS, hint=hint, run=self._worker_of)
        if self._attempts is not None:  # one of several workers
            units = from_another_place(units)
        shared = share(
            units,
            claims,
            ended.state,
            self._compute,
            self.progress.notice,
            stored=Appeared(results).has,
        )
        own = [(unit.cell, state) for unit, state in shared.own if unit.kind is Kind.CELL]
        others = self._by_others(shared)
        return Outcome(
            computed=dict(Counter(state for _, state in own)),
            kept=len(cells) - len(pending),
            shared=dict(Counter(state for _, state in others)),
            lost=self._lost([cell for cell, _ in own]),
            failed=failed_cells(
                [cell for cell, state in (*own, *others) if state == "failed"], results
            ),
        )

    def _by_others(self, shared: Shared) -> list[tuple[Cell, str]]:
        """Return the cells that other processes computed, with their states."""
        found = [(unit.cell, state) for unit, state in shared.others if unit.kind is Kind.CELL]
        if self._attempts is None:  # of several workers, each knows some; their driver reads all
            skipped = [unit.cell for unit in shared.skipped]
            states = cell_states(skipped, self.request.results)
            found += ((cell, states[cell.hash]) for cell in skipped)
        return found

    def _refresh_verdicts(self, finished: list[Cell]) -> None:
        """Bring the verdicts of finished cells up to date, if the folder can be written."""
        for cell in finished:
            try:
                refresh(cell.folder(self.request.results), cell, self.verdicts)
            except BenchError as error:
                self.progress.notice(f"{error}. The verdicts in it stay as they were")

    def _lost(self, computed: list[Cell]) -> int:
        """Return the number of computed cells that are no longer stored, and say so."""
        results = self.request.results
        lost = sum(cell.state(results) not in schema.STATES for cell in computed)
        if lost:
            self.progress.notice(
                f"{lost} of {len(computed)} computed cells are no longer in {shown(results)}: "
                "they were removed or damaged during the run; run the same command again"
            )
        return lost

    def _prepare(self, pending: list[Cell]) -> None:
        """Do everything that can fail before hours of work: initial weights, files, rendering."""
        applicable = [cell for cell in pending if cell.reason is None]
        for cell in {id(cell.opened): cell for cell in applicable}.values():
            if self.request.source_weights is None:
                if not self.trainer.has(cell.chain):
                    build_net(cell.spec, cell.settings.adapter)
                remember_source(cell.opened, self.trainer.folder, self.progress.notice)
                cell.opened.source_data.prepare(self.progress)
            cell.opened.target_data.prepare(self.progress)

    def _compute(self, unit: Unit) -> str:
        """Compute and store one unit; return its state."""
        cell = unit.kind is Kind.CELL
        state = self._compute_cell(unit) if cell else self._part_state(unit)
        if state == "failed":  # by now the error, whose frames hold on to tensors, is gone
            free_memory(self.device)
        return state

    def _part_state(self, unit: Unit) -> str:
        """Compute a part of the work of cells; return its state."""
        try:
            self._compute_part(unit)
        except Exception:  # a plugin may raise anything
            # the cells that need the unit meet the same error, and store it
            return "failed"
        return "done"

    def _compute_part(self, unit: Unit) -> None:
        """Train a stage of source training, or measure source statistics or a shard."""
        cell = unit.cell
        if unit.shard is not None:
            self._cell_run(cell).measure_shard(unit.shard)
            return
        if unit.stage is None:
            self._cell_run(cell).prepared()
            return
        self.trainer.source_model(
            cell.spec,
            cell.settings.adapter,
            cell.opened.source_data,
            cell.opened.preset.data.workers,
            until=unit.stage.key,
        )

    def _compute_cell(self, unit: Unit) -> str:
        """Compute and store one cell; return its state."""
        cell, results = unit.cell, self.request.results
        started, watch = datetime.now(UTC), Stopwatch()
        self._set_damaged_aside(cell)
        attempt = self._attempt(unit)
        self._store(cell, attempt, started, watch.seconds)
        if attempt.ending.state != "failed":
            # a failed cell resumes from its last save once the cause is repaired
            for path in (
                cell.partial(results),
                *(shard.path(cell, results) for shard in unit.shards),
            ):
                mirror.remove(path)
        return attempt.ending.state

    def _set_damaged_aside(self, cell: Cell) -> None:
        """Move the cell's folder to the quarantine if a file in it is damaged."""
        folder = cell.folder(self.request.results)
        try:
            store.read_cell(folder)
        except DamagedError as error:
            kept = set_aside(folder, self.request.results)
            self.progress.notice(f"{error}. Its folder is now {kept}")

    def _attempt(self, unit: Unit) -> _Stored:
        """Return how the cell ends; an error in one cell must not stop the sweep."""
        cell = unit.cell
        if cell.reason is not None:
            return _Stored(ending=Ending(state="not_applicable", reason=cell.reason))
        try:
            return self._measured(cell, unit.shards)
        except DivergedError as error:
            return _Stored(
                ending=Ending(state="diverged", reason=str(error), diverged_at=error.step)
            )
        except Exception as error:  # a plugin may raise anything
            return self._failed(cell, error)

    def _measured(self, cell: Cell, shards: Sequence[Shard]) -> _Stored:
        watch = Stopwatch()
        with named_operation(f"method {cell.method}"):
            measured = self._cell_run(cell).measure(shards)
        ending = Ending(state="done", own_source_scores=measured.own_source_scores)
        found, seconds = tables(measured), measured.seconds
        timed = timed_now(
            adapting_work(cell, device_name(self.device)),
            seconds.adapted_before + seconds.adapting,
            fixed=watch.seconds - seconds.source - seconds.adapting,
        )
        return _Stored(ending=ending, tables=found, details={TIMED: timed.model_dump(mode="json")})

    def _cell_run(self, cell: Cell) -> CellRun:
        return CellRun(
            cell=cell,
            results=self.request.results,
            source_weights=self.request.source_weights,
            trainer=self.trainer,
            progress=self.progress,
            save_seconds=self.save_seconds,
        )

    def _failed(self, cell: Cell, error: Exception) -> _Stored:
        """Return a failed attempt with its traceback; the first cell of each cause is shown."""
        reason = describe(error, type(cell.settings.adapter))
        if reason not in self._causes:
            self.progress.notice(f"{cell.method} on {cell.opened.pair.name} failed: {reason}")
        self._causes.add(reason)
        details = {"traceback": "".join(traceback.format_exception(error))}
        return _Stored(ending=Ending(state="failed", reason=reason), details=details)

    def _store(self, cell: Cell, attempt: _Stored, started: datetime, seconds: float) -> None:
        folder, finished = cell.folder(self.request.results), datetime.now(UTC)
        entry = {
            **attempt.details,
            "state": attempt.ending.state,
            "started": started.isoformat(),
            "finished": finished.isoformat(),
            "seconds": seconds,  # the clock may have been set meanwhile
            "host": socket.gethostname(),
            "platform": platform.platform(),
        }
        attempts = [*self._earlier(folder), entry]
        written = manifest(
            cell,
            attempt.ending,
            request=self.request,
            device=self.device,
            contract=contract_record(cell, self.verdicts),
        )
        files = store.CellFiles(
            manifest=written,
            attempts={"finished": finished.isoformat(), "attempts": attempts},
            **attempt.tables,
        )
        store.write_cell(folder, files)

    def _earlier(self, folder: Path) -> list[dict[str, Any]]:
        """Return the earlier attempts at a cell; a damaged history is set aside."""
        try:
            found: list[dict[str, Any]] = store.read_attempts(folder)["attempts"]
            return found
        except DamagedError as error:
            kept = set_aside(error.path, self.request.results)
            self.progress.notice(f"{error}. It is now {kept}; it held only the history of the cell")
            return []
        except BenchError as error:
            self.progress.notice(f"{error}. The history of the cell starts again")
            return []
