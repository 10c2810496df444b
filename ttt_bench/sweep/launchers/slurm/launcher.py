"""The launcher `slurm`: submit the workers of a run as a job array, and wait for them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ttt_bench.errors import BenchError
from ttt_bench.sweep.launchers.base import Job, Launcher, Watch
from ttt_bench.sweep.launchers.logs import last_error
from ttt_bench.sweep.launchers.slurm import queue
from ttt_bench.sweep.launchers.slurm.options import Options
from ttt_bench.util.atomic import atomic_file
from ttt_bench.util.extras import import_optional
from ttt_bench.util.os_errors import explained, explained_reading

if TYPE_CHECKING:
    from ttt_bench.sweep.launchers.slurm.array import WorkerArray

LOOK_SECONDS = 1.0
ASK_SECONDS = 10.0
"""Seconds between two questions to Slurm's controller, which all users of a cluster share."""
SILENT_SECONDS = 60.0
"""Seconds without an answer of the controller after which a notice says so."""


@dataclass(frozen=True, kw_only=True)
class _Array:
    """A submitted job array.

    Attributes:
        job: the workers.
        ids: the tasks, by number of the worker.
    """

    job: Job
    ids: Sequence[str]

    @property
    def name(self) -> str:
        """The job that `scancel` ends."""
        return self.ids[0].partition("_")[0]

    def problem(self, number: int, task: queue.Task) -> str:
        """Return why a task has ended without an end of the sweep."""
        log, own = self.job.log(number), _folder(self.job) / f"{self.ids[number]}_0_log.out"
        if task.state == queue.FAILED:
            shown = log if log.exists() else own
            return f"worker {number}: {last_error(own)}; log: {shown}"
        return f"worker {number}: Slurm ended its task {self.ids[number]} as {task}; log: {own}"


class Slurm(Launcher[Options]):
    """Submit a job array with one task per worker."""

    name = "slurm"
    Settings = Options

    def check(self) -> None:
        """Check that submitit is installed and that Slurm answers.

        Raises:
            BenchError: they do not; says what was tried.
        """
        _import_submitit()
        queue.check_reachable()

    def script(self, job: Job) -> str:
        """Return the job script; Slurm need not be installed."""
        return self._workers(job).script(job.workers)

    def launch(self, job: Job, watch: Watch) -> list[str]:
        """Submit the workers, unless those of an earlier command still run, and wait for them.

        An interrupt of this process leaves the tasks in Slurm's queue, as the end of a login does.
        """
        array = self._running(job, watch) or self._submitted(job, watch)
        try:
            tasks = _wait(array, watch)
        except KeyboardInterrupt:
            watch.notice(
                f"the tasks of Slurm job {array.name} continue; `scancel {array.name}` cancels "
                "them, and the same command waits for them again"
            )
            raise
        complete = any(task.state == queue.COMPLETED for task in tasks.values())
        return [
            array.problem(number, task)
            for number, task in enumerate(tasks.values())
            if task.is_problem(sweep_is_complete=complete)
        ]

    def _workers(self, job: Job) -> WorkerArray:
        _import_submitit()
        from ttt_bench.sweep.launchers.slurm.array import WorkerArray

        return WorkerArray(_folder(job), self.settings.parameters(job.devices))

    def _running(self, job: Job, watch: Watch) -> _Array | None:
        """Return the array that an earlier command submitted, if it has not ended."""
        path = _ids_file(job)
        if not path.exists():
            return None
        with explained_reading(path, errors=(ValueError,)):
            ids = path.read_text(encoding="utf-8").split()
        if not any(task.is_live for task in queue.read_states(ids).values()):
            return None
        array = _Array(job=job, ids=ids)
        watch.notice(f"Slurm job {array.name} of an earlier command has not ended; waiting for it")
        return array

    def _submitted(self, job: Job, watch: Watch) -> _Array:
        """Submit an array and store the IDs of its tasks.

        Raises:
            BenchError: Slurm refuses it, or its folder cannot be written.
        """
        workers, path = self._workers(job), _ids_file(job)
        queue.check_accepted(workers.script(job.workers))
        with explained(path):
            array = _Array(job=job, ids=workers.start(job))
        with atomic_file(path) as temporary:
            temporary.write_text(" ".join(array.ids), encoding="utf-8")
        watch.notice(f"submitted {job.workers} workers as Slurm job {array.name}")
        return array


def _wait(array: _Array, watch: Watch) -> Mapping[str, queue.Task]:
    """Wait until all tasks have ended; return their states."""
    tasks, shown, silent = queue.read_states(array.ids), "", _Silence()
    while any(task.is_live for task in tasks.values()):
        if (news := f"Slurm job {array.name}: {queue.summary(tasks)}") != shown:
            shown = news
            watch.notice(shown)
        _look_for(ASK_SECONDS, watch)
        _cancel_needless(tasks)
        # controllers are restarted from time to time
        try:
            tasks, silent = queue.read_states(array.ids), _Silence()
        except BenchError as error:
            silent.tell(error, watch)
    watch.look()
    return tasks


@dataclass
class _Silence:
    """The time since Slurm's last answer."""

    since: float = field(default_factory=lambda: time.monotonic())
    told: bool = False

    def tell(self, error: BenchError, watch: Watch) -> None:
        """Give a notice if Slurm has not answered for `SILENT_SECONDS`, once."""
        if self.told or time.monotonic() - self.since < SILENT_SECONDS:
            return
        self.told = True
        watch.notice(
            f"no answer from Slurm's controller for {SILENT_SECONDS:.0f} seconds: {error}; it is "
            f"asked again every {ASK_SECONDS:.0f} seconds, and the tasks may continue meanwhile"
        )


def _cancel_needless(tasks: Mapping[str, queue.Task]) -> None:
    """Cancel tasks that wait in the queue, if a worker has found the sweep complete."""
    waiting = [name for name, task in tasks.items() if task.state == queue.PENDING]
    if waiting and any(task.state == queue.COMPLETED for task in tasks.values()):
        with suppress(BenchError):  # one may have started or ended meanwhile
            queue.cancel_waiting(waiting)


def _look_for(seconds: float, watch: Watch) -> None:
    """Call `watch.look` about once per second for some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        watch.look()
        time.sleep(LOOK_SECONDS)


def _folder(job: Job) -> Path:
    """Return the folder of the job script, the logs of its tasks, and submitit's files."""
    return job.order.parent / "slurm"


def _ids_file(job: Job) -> Path:
    return _folder(job) / "tasks.txt"


def _import_submitit() -> None:
    import_optional("submitit", "launcher slurm", extra="slurm")
