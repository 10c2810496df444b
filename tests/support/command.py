"""`ttt-bench` called in this process, as its entry point would."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from ttt_bench.cli.main import main


class Done(NamedTuple):
    """How a call ended."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: str | Path, **environment: str) -> Done:
    """Run `ttt-bench` in this process, as its entry point would."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["ttt-bench", *map(str, arguments)])
        for name, value in {"COLUMNS": "120", **environment}.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as stop:
            main()
    return Done(int(stop.value.code or 0), out.getvalue(), err.getvalue())


def refused(*arguments: str | Path, **environment: str) -> str:
    """What a call that ends with exit code 2 says: its last line is the message, and there is no
    traceback.
    """
    done = call(*arguments, **environment)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    *before, last = done.stderr.strip().splitlines()
    assert last.startswith("error: "), done.stderr
    return "\n".join([*before, last.removeprefix("error: ")])
