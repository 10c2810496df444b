"""The interface of launchers.

A launcher starts worker processes and waits for them. It does not know what they compute: each
worker reads the work order, plans the sweep, and computes units that no other process has claimed.
So the rows of a run do not depend on the launcher, on the number of workers, or on their order.
"""

from __future__ import annotations

import os
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

from ttt_bench.util.input.validation import Strict
from ttt_bench.util.store.address import shown


class Settings(Strict):
    """The base of a launcher's options; this one has none."""


SettingsT = TypeVar("SettingsT", bound=Settings)


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _own_environment() -> dict[str, str]:
    """Return the variables on which numbers, or the places of data and caches, depend."""
    own = [name for name in os.environ if name.startswith("TTT_BENCH_") or name in _THREADS]
    return {name: os.environ[name] for name in own}


@dataclass(frozen=True, kw_only=True)
class Job:
    """The workers of one run.

    Attributes:
        order: the file of the work order. Its folder is for logs.
        workers: the number of workers, at least 1.
        cells: the number of cells that are left.
        devices: the number of GPUs that a worker trains a source model on.
        environment: environment variables that a worker on another machine needs.
    """

    order: Path
    workers: int
    cells: int
    devices: int = 1
    environment: Mapping[str, str] = field(default_factory=_own_environment)

    def command(self, number: int) -> list[str]:
        """Return the command of worker `number`, counted from 0.

        It ends with exit code 0 when no work is left, also if cells failed, with 2 after an error
        that it states in its log, and with 130 after a signal to stop, at which it saves its work.
        """
        return [sys.executable, *self.arguments(number)]

    def arguments(self, number: int) -> list[str]:
        """Return the arguments of the Python interpreter in `command`, for other interpreters."""
        own = ["work", shown(self.order), "--worker", str(number)]
        return ["-m", "ttt_bench.cli.main", *own]

    def log(self, number: int) -> Path:
        """Return the file for the output of worker `number`."""
        return self.order.parent / f"worker-{number}.log"


class Watch(Protocol):
    """What a launcher calls while it waits."""

    def look(self) -> None:
        """Show how many cells are finished, and the notices in the workers' logs."""
        ...

    def notice(self, message: str) -> None:
        """Show a message."""
        ...


class Launcher(ABC, Generic[SettingsT]):
    """A way to start workers. Packages register one in the group `ttt_bench.launchers`.

    Args:
        settings: the options of --launcher-option.

    Attributes:
        name: the name in the registry.
        Settings: the options, a subclass of `Settings`.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings

    @abstractmethod
    def check(self) -> None:
        """Check that workers can be started. It is called before anything starts.

        Raises:
            BenchError: they cannot; says what was tried and what to check.
        """

    @abstractmethod
    def launch(self, job: Job, watch: Watch) -> list[str]:
        """Start the workers, wait until all have ended, and return a line per failed worker.

        A worker that is killed from outside is started again. An interrupt of this process
        (KeyboardInterrupt) stops the workers with SIGTERM, after which they save their work; where
        workers outlive this process by design, it leaves them and says how to stop them.

        Args:
            job: the workers.
            watch: its `look` is called about once per second.

        Raises:
            BenchError: the workers cannot be started.
        """

    def script(self, job: Job) -> str:
        """Return what `launch` would start, for --dry-run: by default, a command per worker."""
        return "\n".join(shlex.join(job.command(number)) for number in range(job.workers))
