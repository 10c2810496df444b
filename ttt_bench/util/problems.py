"""Collect the problems of a request, so that the user sees all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from ttt_bench.errors import BenchError

ArgumentsP = ParamSpec("ArgumentsP")
ValueT = TypeVar("ValueT")


def attempt(
    function: Callable[ArgumentsP, ValueT], *args: ArgumentsP.args, **kwargs: ArgumentsP.kwargs
) -> tuple[ValueT | None, list[str]]:
    """Call a function; return its value and no problems, or None and its BenchError's message."""
    try:
        return function(*args, **kwargs), []
    except BenchError as error:
        return None, [str(error)]


def raise_problems(problems: Iterable[str]) -> None:
    """Raise one BenchError with all problems, one per line, each once; do nothing without any.

    Raises:
        BenchError: there are problems.
    """
    lines = dict.fromkeys(line for problem in problems for line in problem.splitlines())
    if lines:
        raise BenchError("\n".join(lines))
