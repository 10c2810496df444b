"""Drive the workers of a launcher: write the work order, show progress, and collect the outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.results.maintenance.contents import LAUNCHED
from ttt_bench.results.schema import FINISHED
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.launchers.base import Job
from ttt_bench.sweep.launchers.logs import Logs
from ttt_bench.sweep.launchers.registry import find_launcher
from ttt_bench.sweep.outcome import Outcome, failed_cells
from ttt_bench.sweep.plan import Sweep
from ttt_bench.sweep.shared.claiming import attempts_at
from ttt_bench.sweep.shared.order import make_order, write_order
from ttt_bench.sweep.shared.pace import Pace
from ttt_bench.sweep.shared.states import cell_states
from ttt_bench.sweep.shared.units import pending_units
from ttt_bench.util.process import fixed_process
from ttt_bench.util.progress import Bar, Progress
from ttt_bench.util.store import mirror
from ttt_bench.util.store.address import shown


@dataclass(frozen=True)
class _Pending:
    """The cells of a sweep that are not finished, and the number of stored attempts at them."""

    cells: list[Cell]
    attempts: Mapping[str, int]


def launch(sweep: Sweep, progress: Progress) -> Outcome:
    """Compute the cells of a sweep by the workers of the request's launcher.

    Raises:
        BenchError: the launcher is not available, its workers could not work, or the results folder
            cannot be written.
    """
    launcher, results = find_launcher(sweep.request), sweep.request.results
    launcher.check()
    pending = _pending(sweep)
    if not pending.cells:
        return Outcome(computed={}, kept=len(sweep.cells))
    store.check_writable(results)
    job = _job(sweep, pending)
    logs = Logs([job.log(number) for number in range(job.workers)])
    logs.skip()
    title = f"cells by {job.workers} workers ({launcher.name})"
    with progress.bar(title, len(pending.cells)) as bar:
        watch = _Watch(results=results, cells=pending.cells, logs=logs, bar=bar, progress=progress)
        problems = launcher.launch(job, watch)
        watch.finish()
    return _outcome(sweep, pending, problems, progress)


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a launcher would start.

    Attributes:
        launcher: its name.
        workers: the number of workers.
        cells: the number of cells that are left.
        order: the file of the work order.
        script: the commands of the workers, or the job script.
    """

    launcher: str
    workers: int
    cells: int
    order: str
    script: str


@fixed_process()
def dry_run(sweep: Sweep) -> DryRun:
    """Return what the request's launcher would start; write the work order, and start nothing.

    Raises:
        BenchError: an option of the launcher is invalid, or the order cannot be written.
    """
    launcher, job = find_launcher(sweep.request), _job(sweep, _pending(sweep))
    return DryRun(
        launcher=launcher.name,
        workers=job.workers,
        cells=job.cells,
        order=shown(job.order),
        script=launcher.script(job),
    )


def _pending(sweep: Sweep) -> _Pending:
    results = sweep.request.results
    states = cell_states(sweep.cells, results)
    cells = [cell for cell in sweep.cells if states[cell.hash] not in FINISHED]
    attempts = {name: n for name, n in attempts_at(cells, results).items() if n}
    return _Pending(cells, attempts)


def _job(sweep: Sweep, pending: _Pending) -> Job:
    """Write the work order of a sweep, and return its job."""
    order = make_order(sweep, pending.attempts)
    path = sweep.request.results.absolute() / LAUNCHED / order.key / "order.json"
    write_order(path, order)
    units = pending_units(pending.cells, sweep.checkpoints, sweep.request.shards)
    workers = max(1, min(sweep.request.workers, len(units)))
    return Job(
        order=path,
        workers=workers,
        cells=len(pending.cells),
        devices=sweep.request.train_devices,
    )


@dataclass(kw_only=True)
class _Watch:
    """The progress of a job: the cells whose files have changed since it began.

    A look at 100,000 cells takes about a second, so the cells of large sweeps are looked at less
    often than `look` is called.
    """

    results: Path
    cells: Sequence[Cell]
    logs: Logs
    bar: Bar
    progress: Progress
    _waiting: dict[Path, int | None] = field(init=False)
    _pace: Pace = field(default_factory=lambda: Pace(seconds=0.0), init=False)

    def __post_init__(self) -> None:
        folders = [cell.folder(self.results) for cell in self.cells]
        self._waiting = {folder: store.written_at(folder) for folder in folders}

    def look(self) -> None:
        """Show the cells that have ended since the last look, and new notices of workers."""
        if self._pace.due:
            with self._pace.timed():
                self._show_ended()
        for notice in self.logs.new_notices():
            self.notice(notice)

    def finish(self) -> None:
        """Show the cells that have ended since the last look, however long that takes."""
        self._show_ended()

    def _show_ended(self) -> None:
        ended = [one for one, before in self._waiting.items() if store.written_at(one) != before]
        for folder in ended:
            del self._waiting[folder]
        if ended:
            self.bar.advance(len(ended))

    def notice(self, message: str) -> None:
        """Show a message."""
        self.progress.notice(message)


def _outcome(
    sweep: Sweep, pending: _Pending, problems: Sequence[str], progress: Progress
) -> Outcome:
    """Return how the cells ended.

    Raises:
        BenchError: workers failed, and cells are left.
    """
    results = sweep.request.results
    mirror.fetch(results)
    found = cell_states(pending.cells, results)
    states = Counter(found.values())
    left = sum(number for state, number in states.items() if state not in (*FINISHED, "failed"))
    if problems and left:
        lines = "\n".join(dict.fromkeys(problems))
        raise BenchError(f"{left} cells are left, because workers ended too early:\n{lines}")
    for problem in problems:
        progress.notice(problem)
    return Outcome(
        computed=dict(states),
        kept=len(sweep.cells) - len(pending.cells),
        lost=left,
        failed=failed_cells(
            [cell for cell in pending.cells if found[cell.hash] == "failed"], results
        ),
    )
