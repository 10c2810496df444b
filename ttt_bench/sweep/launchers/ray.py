"""The launcher `ray`: workers on the nodes of a Ray cluster.

Each worker is a child of a Ray actor, which holds the CPU cores, GPUs and memory that a worker
needs. The results folder must be on a file system that all nodes share.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import ByteSize, Field

from ttt_bench.sweep.launchers.base import Job, Launcher, Settings, Watch
from ttt_bench.sweep.launchers.logs import last_error
from ttt_bench.sweep.launchers.ray_cluster import Need, check_address, connected, need_per_worker
from ttt_bench.sweep.launchers.ray_host import Host

LOOK_SECONDS = 1.0
WAIT_SECONDS = 15.0
"""Time after which a worker that has not started is reported."""
STOP_SECONDS = 120.0
"""Time that stopped workers have to end their units of work and to save."""


class RaySettings(Settings):
    """The options of the launcher `ray`."""

    address: str = Field(
        "",
        description="Address of a Ray cluster: auto, HOST:PORT, or ray://HOST:PORT. Default: start "
        "Ray on this machine.",
    )
    cpus: float = Field(1, ge=0, description="CPU cores that Ray reserves per worker.")
    gpus: float | None = Field(
        None,
        ge=0,
        description="GPUs per worker. Default: --train-devices if a node has GPUs, otherwise 0.",
    )
    memory: ByteSize | None = Field(
        None, gt=0, description="Memory that Ray reserves per worker, such as 16GB."
    )
    resources: dict[str, float] = Field(
        default_factory=dict, description="Custom resources of Ray per worker: name -> amount."
    )
    retries: int = Field(
        3, ge=0, description="How often a worker is started again after it or its node was lost."
    )


class Ray(Launcher[RaySettings]):
    """Start workers on a Ray cluster."""

    name = "ray"
    Settings = RaySettings

    def check(self) -> None:
        """Check that Ray is installed and that its address answers; see `Launcher.check`."""
        check_address(self.settings.address)

    def launch(self, job: Job, watch: Watch) -> list[str]:
        """Start the workers and wait; see `Launcher.launch`."""
        with connected(self.settings.address) as ray:
            need = need_per_worker(self.settings, ray.nodes(), job.devices)
            crew = _Crew(ray=ray, job=job, need=need, retries=self.settings.retries, watch=watch)
            with crew.started():
                while crew.runs():
                    watch.look()
                watch.look()
        return [worker.problem for worker in crew.workers if worker.problem]


@dataclass(kw_only=True)
class _Worker:
    """A worker: its actor, the results of the actor's calls, and what became of it.

    Attributes:
        number: the number of the worker.
        actor: a handle of a `Host`.
        began: the future name of the actor's machine.
        ended: the future name of the machine and exit code of the worker.
        since: when the actor was asked for, in seconds of a monotonic clock.
        told: whether the user was told that it waits.
        losses: how often it was lost.
        over: whether it has ended for good.
        problem: why it has ended too early, or empty.
    """

    number: int
    actor: Any
    began: Any
    ended: Any
    since: float = field(default_factory=time.monotonic)
    told: bool = False
    losses: int = 0
    over: bool = False
    problem: str = ""


@dataclass(kw_only=True)
class _Crew:
    """All workers of a job."""

    ray: Any
    job: Job
    need: Need
    retries: int
    watch: Watch
    workers: list[_Worker] = field(default_factory=list)

    @contextmanager
    def started(self) -> Iterator[None]:
        """Start all workers; when the block ends by an exception, stop them and wait for them."""
        try:
            self.workers = [self._start(number) for number in range(self.job.workers)]
            yield
        except BaseException:
            self._stop()
            raise
        finally:
            for worker in self.workers:
                self.ray.kill(worker.actor)

    def runs(self) -> bool:
        """Wait for a second, handle the workers that have ended, and return whether any is left."""
        left = self._left()
        waited = [worker.ended for worker in left]
        self.ray.wait(waited, num_returns=len(waited), timeout=LOOK_SECONDS)
        for worker in left:
            if self._ready(worker.ended):
                self._handle(worker)
        self._tell_waiting()
        return bool(self._left())

    def _left(self) -> list[_Worker]:
        return [worker for worker in self.workers if not worker.over]

    def _ready(self, result: Any) -> bool:
        ready, _ = self.ray.wait([result], timeout=0)
        return bool(ready)

    def _start(self, number: int) -> _Worker:
        actor = self.ray.remote(Host).options(**self.need.options).remote()
        began = actor.start.remote(
            self.job.arguments(number), str(self.job.log(number)), dict(self.job.environment)
        )
        return _Worker(number=number, actor=actor, began=began, ended=actor.wait.remote(began))

    def _handle(self, worker: _Worker) -> None:
        """Take the exit code of a worker, or start it again if it was lost."""
        log = self.job.log(worker.number)
        try:
            host, code = self.ray.get(worker.ended)
        except OSError as error:  # raised by `Host.start`
            reason = f"cannot be started on its node ({error}); all nodes must share {log.parent}"
            self._end(worker, reason)
        except self.ray.exceptions.RayError as error:
            self._replace(worker, _cause(error))
        else:
            if code < 0:
                self._replace(worker, f"killed by signal {-code} on {host}")
            elif code != 0:
                self._end(worker, f"{last_error(log)} (on {host}; log: {log})")
            else:
                self._end_all_waiting(worker)

    def _end(self, worker: _Worker, reason: str) -> None:
        worker.over, worker.problem = True, f"worker {worker.number}: {reason}"

    def _end_all_waiting(self, ended: _Worker) -> None:
        """End a worker that found no work left, and those that have not started."""
        for worker in self._left():
            worker.over |= worker is ended or not self._ready(worker.began)

    def _replace(self, worker: _Worker, cause: str) -> None:
        """Start a lost worker again, if it was not lost too often."""
        if worker.losses == self.retries:
            self._end(worker, f"lost {self.retries + 1} times: {cause}")
            return
        self.watch.notice(f"worker {worker.number} was lost and is started again: {cause}")
        self.ray.kill(worker.actor)
        new = self._start(worker.number)
        new.losses = worker.losses + 1
        self.workers[self.workers.index(worker)] = new

    def _tell_waiting(self) -> None:
        """Tell which workers have not started yet, once."""
        late = time.monotonic() - WAIT_SECONDS
        left = [worker for worker in self._left() if not worker.told and worker.since < late]
        waiting = [worker for worker in left if not self._ready(worker.began)]
        for worker in left:
            worker.told = True
        if waiting:
            self.watch.notice(
                f"{len(waiting)} of {len(self.workers)} workers wait for Ray to have {self.need} "
                "free on a node"
            )

    def _stop(self) -> None:
        """Ask the workers to save their work, and wait until they have ended."""
        begun = [worker for worker in self._left() if self._ready(worker.began)]
        for worker in begun:
            worker.actor.stop.remote()
        if begun:
            waited = [worker.ended for worker in begun]
            self.ray.wait(waited, num_returns=len(waited), timeout=STOP_SECONDS)


def _cause(error: Exception) -> str:
    """Return the last line of an error of Ray, which states its cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
