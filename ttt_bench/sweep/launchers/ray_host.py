"""The actor that runs a worker as a child process on a node of a Ray cluster."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class Host:
    """Start one worker, wait for it, and stop it."""

    _child: subprocess.Popen[bytes]

    def start(self, arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> str:
        """Start the worker, and return the name of this machine.

        The worker stops when its standard input is closed, that is, when this process ends.

        Args:
            arguments: those of the Python interpreter.
            log: the file for the output.
            environment: variables that replace those of Ray.

        Raises:
            OSError: the log cannot be written, or the process cannot be started.
        """
        with Path(log).open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, *arguments, "--attached"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**_environment(), **environment},
                start_new_session=True,
            )
        return socket.gethostname()

    def wait(self, machine: str) -> tuple[str, int]:
        """Wait for the worker, and return the name of this machine and the worker's exit code.

        Args:
            machine: the result of `start`, without which Ray does not make this call.
        """
        return machine, self._child.wait()

    def stop(self) -> None:
        """Ask the worker to save its work and end."""
        with suppress(OSError):
            self._child.terminate()


def _environment() -> dict[str, str]:
    """Return the variables of this process without the number of threads, which Ray sets."""
    return {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
