"""Command lines in pages, and what `ttt-bench` understands by them without running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typer

from ttt_bench.cli import options
from ttt_bench.cli.main import app
from ttt_bench.config.request import Request

_ENDS = frozenset({"&&", "||", "|", ";", "&"})
_ASSIGNED = re.compile(r"\w+=")


class Understood(Exception):  # noqa: N818
    """The command line is valid; `request` is what it asks for, if its command takes a request."""

    def __init__(self, request: Request | None = None) -> None:
        super().__init__()
        self.request = request


def command_lines(script: str) -> Iterator[list[str]]:
    """Yield the arguments of every `ttt-bench` in a shell script."""
    for line in script.replace("\\\n", " ").splitlines():
        for words in _commands(line):
            if words and words[0].rpartition("/")[2] == "ttt-bench":
                yield words[1:]


def _commands(line: str) -> Iterator[list[str]]:
    """Yield the words of each command of a line, without the variables set for it."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in (*lexer, ";"):
        if word in _ENDS:
            yield words
            words = []
        elif words or not _ASSIGNED.match(word):
            words.append(word)


def understood(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> Request | None:
    """Return the request of a command line; None for a command that takes no request.

    Nothing runs, and files that it names need not exist.

    Raises:
        Exception: a usage error of typer, or a `BenchError`.
    """
    made = options._request

    def stop(config: Any, given: Any) -> None:
        raise Understood(made(None, given))

    monkeypatch.setattr(options, "_request", stop)
    with pytest.raises(Understood) as found:
        _application().main(list(arguments), prog_name="ttt-bench", standalone_mode=False)
    return found.value.request


@cache
def _application() -> Any:
    """Return the application; its commands that take no request stop where they would begin."""
    command = typer.main.get_command(app)
    _replace_callbacks(command)
    return command


def _replace_callbacks(command: Any) -> None:
    """Let every command without a request stop where it would begin."""
    for inner in getattr(command, "commands", {}).values():
        _replace_callbacks(inner)
    takes_request = hasattr(command.callback, "__wrapped__") and "config" in {
        parameter.name for parameter in command.params
    }
    if not hasattr(command, "commands") and not takes_request:
        command.callback = _stop


def _stop(**_: Any) -> None:
    raise Understood
