"""Call `ttt-bench` in this process, as its entry point does."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from ttt_bench.cli.main import main
from ttt_bench.util.interrupts import SIGNALS
from ttt_bench.util.progress import Bar, Silent


class Done(NamedTuple):
    """Exit code and output of a call."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: str | Path, **environment: str) -> Done:
    """Run a command and return its exit code and output.

    Args:
        arguments: Those after `ttt-bench`.
        environment: Environment variables; a terminal is 120 columns wide by default.
    """
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        for number, handler in handlers.items():
            stack.callback(signal.signal, number, handler)
        patch.setattr(sys, "argv", ["ttt-bench", *map(str, arguments)])
        for name, value in {"COLUMNS": "120", **environment}.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as stop:
            main()
    return Done(int(stop.value.code or 0), out.getvalue(), err.getvalue())


def refused(*arguments: str | Path, **environment: str) -> str:
    """Run a command that must end with exit code 2, and return its message.

    The message is the last line of standard error, which has no traceback.
    """
    done = call(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    *before, last = done.stderr.strip().splitlines()
    assert last.startswith("error: "), done.stderr
    return "\n".join([*before, last.removeprefix("error: ")])


class Signalling(Silent):
    """A display that sends this process a signal when a bar first advances.

    Args:
        number: The signal.
        title: A part of that bar's title.
    """

    def __init__(self, number: signal.Signals, title: str) -> None:
        self._number, self._title = number, title

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        with super().bar(title, total, done) as bar:
            yield self if self._title in title else bar

    def advance(self, amount: int = 1, note: str = "") -> None:
        signal.raise_signal(self._number)
