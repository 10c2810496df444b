"""The text of classes and functions that were typed in a notebook or an interpreter."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Iterator
from textwrap import dedent
from types import FunctionType
from typing import Any

from ttt_bench.errors import BenchError


def is_typed(subject: Any) -> bool:
    """Return whether the module of a class or function has no file and is no built-in one."""
    name = subject.__module__
    if name in sys.stdlib_module_names and name != "__main__":
        return False
    return not getattr(sys.modules.get(name), "__file__", None)


def typed_source(subject: Any) -> str:
    """Return the source code of a class or function: its own text, or that of its cells.

    Raises:
        BenchError: the text was not kept.
    """
    try:
        return dedent(inspect.getsource(subject))
    except (OSError, TypeError):
        cells = dict.fromkeys(function.__code__.co_filename for function in _functions(subject))
        text = "\n".join("".join(linecache.getlines(cell)) for cell in cells)
    if not text.strip():
        raise BenchError(
            f"the code of {subject.__module__}.{subject.__qualname__} cannot be read, so its "
            "results could not be told from those of another version; write it to a file and "
            "import it"
        )
    return text


def _functions(subject: Any) -> Iterator[FunctionType]:
    """Yield a function, or the functions that a class defines."""
    members = vars(subject).values() if isinstance(subject, type) else [subject]
    return (member for member in members if isinstance(member, FunctionType))
