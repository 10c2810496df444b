"""A task of a Slurm job: run one worker, and have it save its work before the job ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ttt_bench.sweep.launchers.logs import last_error

OF_SLURM = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""The signals that Slurm sends before it ends a job, by its settings and those of the job."""
STOP = signal.SIGHUP
"""Makes a worker save its work and end."""
REQUEUE_SECONDS = 5.0
"""How long a stopped task waits for the signal to requeue, which may follow SIGTERM."""


class WorkerTask:
    """Run a worker as a child process; submitit calls the object in the job.

    Slurm signals either all processes of a job or only the first one, by its settings. So the
    worker ignores the signals of Slurm, and this object alone tells it to stop, once.

    Args:
        command: the worker's program and arguments.
        log: the file that its output is added to.
        environment: environment variables that the worker gets in addition.
    """

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.command, self.log, self.environment = tuple(command), log, dict(environment)
        self._pid: int | None = None
        self._stopped = False

    def __call__(self) -> None:
        """Run the worker until it ends.

        SIGTERM comes when the job is cancelled, and when Slurm requeues it: the worker saves, and
        the task ends.

        Raises:
            SystemExit: the worker failed or was stopped.
        """
        process = self._started()
        self._pid = process.pid
        signal.signal(signal.SIGTERM, self._end)
        code = process.wait()
        if self._stopped:
            time.sleep(REQUEUE_SECONDS)
        elif code != 0:
            killed = f"the worker was ended by {signal.Signals(-code).name}" if code < 0 else ""
            print(f"error: {killed or last_error(self.log)}", file=sys.stderr)
        if code != 0:
            sys.exit(abs(code))

    def checkpoint(self) -> Any:
        """Stop the worker, wait until it has saved, and return the task to be requeued.

        submitit calls it in a signal handler, at the signal that precedes the end of the job.
        """
        from submitit.helpers import DelayedSubmission

        self._stop_worker()
        again = WorkerTask(self.command, log=self.log, environment=self.environment)
        return DelayedSubmission(again)

    def _started(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self.command,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_ignore_signals_of_slurm,
            )

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._stop_worker()

    def _stop_worker(self) -> None:
        """Tell the worker to save, unless it has been told, and wait until it has ended."""
        if self._pid is None:
            return
        # the exit code is left to `Popen.wait`, which the handler of a signal interrupts
        with suppress(ProcessLookupError, ChildProcessError):
            if not self._stopped:
                self._stopped = True
                os.kill(self._pid, STOP)
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)


def _ignore_signals_of_slurm() -> None:
    for number in OF_SLURM:
        signal.signal(number, signal.SIG_IGN)
