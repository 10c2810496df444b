"""The launcher `local`: worker processes on this machine."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ttt_bench.sweep.launchers.base import Job, Launcher, Settings, Watch
from ttt_bench.sweep.launchers.logs import last_error
from ttt_bench.util.os_errors import explained

LOOK_SECONDS = 0.5
STOP_SECONDS = 120.0
"""Time that a stopped worker has to end its unit of work and to save."""
RESTARTS = 3
"""How often a worker that a signal has killed is started again."""


class Local(Launcher[Settings]):
    """Start workers on this machine: one per GPU in turn, or one per group of CPU cores.

    With --train-devices N, one per N GPUs.
    """

    name = "local"

    def check(self) -> None:
        """Do nothing: processes can always be started."""

    def launch(self, job: Job, watch: Watch) -> list[str]:
        """Start the workers and wait; see `Launcher.launch`."""
        with _started(job) as workers:
            running = workers
            while running:
                watch.look()
                time.sleep(LOOK_SECONDS)
                running = [worker for worker in running if worker.runs()]
            watch.look()
        return [problem for worker in workers if (problem := worker.problem())]


@dataclass(kw_only=True)
class _Worker:
    """A worker process, and the number of times that it was started again."""

    job: Job
    number: int
    process: subprocess.Popen[bytes]
    restarts: int = 0

    def runs(self) -> bool:
        """Return whether the worker runs; start it again if a signal has killed it."""
        code = self.process.poll()
        if code is None:
            return True
        if code >= 0 or self.restarts == RESTARTS:
            return False
        self.restarts += 1
        self.process = _start(self.job, self.number)
        return True

    def problem(self) -> str | None:
        """Return why the worker has ended too early, or None."""
        code = self.process.returncode
        if code == 0:
            return None
        log = self.job.log(self.number)
        killed = f"killed by signal {-code}, and {RESTARTS} times again" if code < 0 else ""
        return f"worker {self.number}: {killed or last_error(log)}; log: {log}"

    def stop(self) -> None:
        """Ask the worker to save its work and end."""
        with suppress(OSError):
            self.process.terminate()


@contextmanager
def _started(job: Job) -> Iterator[list[_Worker]]:
    """Start the workers; when the block ends by an exception, stop them and wait for them."""
    workers: list[_Worker] = []
    try:
        for number in range(job.workers):
            workers.append(_Worker(job=job, number=number, process=_start(job, number)))
        yield workers
    except BaseException:
        for worker in workers:
            worker.stop()
        end = time.monotonic() + STOP_SECONDS
        for worker in workers:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, end - time.monotonic()))
            worker.process.kill()
        raise


def _start(job: Job, number: int) -> subprocess.Popen[bytes]:
    """Start a worker on its device and cores.

    Its standard input is a pipe of this process: if this process is killed, the worker finds the
    pipe closed and stops.
    """
    environment = {**os.environ, **_devices(number, job.devices)}
    log = job.log(number)
    with explained(log), log.open("ab") as output:
        process = subprocess.Popen(
            [*job.command(number), "--attached"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches this process alone, which stops the workers
        )
    _pin(process.pid, number, job.workers)
    return process


def _devices(number: int, count: int) -> dict[str, str]:
    """Return the environment in which a worker sees `count` GPUs only."""
    import torch

    if not torch.cuda.is_available():
        return {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = [name for name in visible if name] or [*map(str, range(torch.cuda.device_count()))]
    numbers = range(number * count, (number + 1) * count)
    own = dict.fromkeys(names[n % len(names)] for n in numbers)
    return {"CUDA_VISIBLE_DEVICES": ",".join(own)}


def _pin(pid: int, number: int, workers: int) -> None:
    """Keep a worker on its own cores, if there are enough cores for all workers."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    size = len(cores) // workers
    if size:
        with suppress(OSError):
            os.sched_setaffinity(pid, cores[number * size : (number + 1) * size])
