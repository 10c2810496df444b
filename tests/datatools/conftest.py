"""Fixtures for the tests of data commands."""

import sys

import pytest

from ttt_bench.cli.main import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a command; gives its exit code, and what it printed on stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["ttt-bench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call
