"""Workers of the launcher `local` as forked children of the run, so that they start at once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, ClassVar

from faults.command import POLL_SECONDS, child, fork
from faults.sweeps import save_always
from ttt_bench.sweep.launchers import local


class Forked:
    """What the launcher uses of `subprocess.Popen`, for a forked child.

    Args:
        command: the command of a worker; what precedes `work` is left out.
        stdout: the open log.
        env: the environment.
        others: arguments that are always the same.
    """

    _writers: ClassVar[list[int]] = []

    def __init__(
        self, command: Sequence[str], *, stdout: IO[bytes], env: Mapping[str, str], **others: Any
    ) -> None:
        self.returncode: int | None = None
        reader, writer = os.pipe()
        self.pid = fork()
        if self.pid == 0:
            for number in (*self._writers, writer):  # only the run may hold them open
                os.close(number)
            os.setsid()
            os.dup2(reader, 0)
            child(stdout.fileno(), list(command[command.index("work") :]), env, save_always)
        os.close(reader)
        self._writers.append(writer)

    def poll(self) -> int | None:
        """Return the exit code, or None while the worker runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(POLL_SECONDS)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def forked_workers() -> None:
    """Make a run fork its workers (a `Hook`)."""
    save_always()
    # the launcher's name only: other modules start other processes
    local.subprocess = SimpleNamespace(  # type: ignore[assignment]
        **{name: getattr(subprocess, name) for name in ("PIPE", "STDOUT", "TimeoutExpired")},
        Popen=Forked,
    )
    local.LOOK_SECONDS = 0.05


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    try:
        return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def outlive(pids: Sequence[int], limit: float) -> list[int]:
    """Return the processes that still run after a time; they are killed."""
    end = time.monotonic() + limit
    while (left := [pid for pid in pids if _runs(pid)]) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
