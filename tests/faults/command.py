"""Run `ttt-bench` in a forked child, which has everything imported."""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ttt_bench.cli.main import main
from ttt_bench.util.interrupts import SIGNALS

LIMIT_SECONDS = 120.0
POLL_SECONDS = 0.005

Hook = Callable[[], None]
"""Called in the child before the command starts."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that has ended.

    Attributes:
        code: its exit code; negative for a signal.
        text: everything that it wrote.
        hung: whether it was still running after the limit.
        seconds: how long it ran.
    """

    code: int
    text: str
    hung: bool
    seconds: float


@dataclass
class Command:
    """A running command, the leader of its own process group."""

    pid: int
    output: Path
    started: float = field(default_factory=time.monotonic)
    code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while the command runs."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, limit: float = LIMIT_SECONDS) -> Ended:
        """Wait for the end; after the limit the whole group is killed."""
        while (code := self.poll()) is None:
            if time.monotonic() - self.started > limit:
                return self._killed()
            time.sleep(POLL_SECONDS)
        return self._ended(code, hung=False)

    def send_if_running(self, number: signal.Signals) -> None:
        """Send a signal to the leader, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def end_group(self) -> None:
        """Kill what is left of the group."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _killed(self) -> Ended:
        self.end_group()
        _, status = os.waitpid(self.pid, 0)
        return self._ended(os.waitstatus_to_exitcode(status), hung=True)

    def _ended(self, code: int, *, hung: bool) -> Ended:
        self.end_group()
        text = self.output.read_text(encoding="utf-8", errors="replace")
        self.output.unlink()
        seconds = time.monotonic() - self.started
        return Ended(code=code, text=text, hung=hung, seconds=seconds)


def start(
    *arguments: str | Path, environment: Mapping[str, str] | None = None, hook: Hook | None = None
) -> Command:
    """Start a command in a forked child.

    Args:
        arguments: those after `ttt-bench`.
        environment: environment variables that differ from this process's.
        hook: as `Hook`.
    """
    number, name = tempfile.mkstemp(prefix="faults-", suffix=".out")
    pid = fork()
    if pid == 0:
        child(number, [str(argument) for argument in arguments], environment or {}, hook)
    with suppress(OSError):  # the child does it too; whoever is first
        os.setpgid(pid, pid)
    os.close(number)
    return Command(pid, Path(name))


def call(
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    hook: Hook | None = None,
    limit: float = LIMIT_SECONDS,
) -> Ended:
    """Run a command to its end."""
    return start(*arguments, environment=environment, hook=hook).wait(limit)


def fork() -> int:
    """Fork this process as `os.fork` does; signals that arrive meanwhile come after it.

    Python ignores an exception of a signal's handler within a fork, so that Ctrl-C would be lost.
    """
    signals = {*SIGNALS, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        return os.fork()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)


def child(
    output: int, arguments: list[str], environment: Mapping[str, str], hook: Hook | None
) -> NoReturn:
    """Run a command in this forked child, and end it.

    Args:
        output: the number of the open file that everything is written to.
        arguments: those after `ttt-bench`.
        environment: as for `start`.
        hook: as `Hook`.
    """
    code = 70
    try:
        with suppress(OSError):  # the leader of a session is one of a group
            os.setpgid(0, 0)
        _redirect(output)
        os.environ.update({"COLUMNS": "10000", **environment})  # no line of a path is wrapped
        sys.argv = ["ttt-bench", *arguments]
        if hook is not None:
            hook()
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flush(stream)
        os._exit(code)


def _redirect(output: int) -> None:
    """Send both outputs to a file, and give signals their usual effect."""
    for number in (1, 2):
        os.dup2(output, number)
    sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, "w"), encoding="utf-8", write_through=True)
        for number in (1, 2)
    )
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _flush(stream: io.TextIOBase) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        return
