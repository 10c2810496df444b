"""The place in a plugin's code where an error was raised."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType

from pydantic import BaseModel, ValidationError

from ttt_bench.errors import BenchError
from ttt_bench.util.input.validation import problems_of
from ttt_bench.util.os_errors import is_out_of_memory, out_of_memory

HARNESS = "ttt_bench"
METHODS = f"{HARNESS}.methods"
_PYTHON = {"abc", "builtins", "typing"}


def where(error: BaseException, plugin: type | str | None = None) -> str:
    """Return the file, line and function of an error, such as "file.py:12 in step".

    Args:
        error: an error that was raised.
        plugin: the plugin's class, or the name of its module. The innermost line in its package and
            in those of its base classes is named. None, or no such line: the innermost line of all.
    """
    frames = [place for place in traceback.walk_tb(error.__traceback__) if not _internal(place[0])]
    if not frames:
        return "an unknown line"
    packages = {package_of(plugin)} if isinstance(plugin, str) else packages_of(plugin)
    own = [place for place in frames if _package_of_frame(place[0]) in packages]
    frame, line = (own or frames)[-1]
    return f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"


def packages_of(plugin: type | None) -> set[str]:
    """Return the top-level packages of a plugin's class and of its base classes; none for None.

    The harness and Python's own modules are left out.
    """
    bases = plugin.__mro__ if plugin else ()
    return {package_of(base.__module__) for base in bases} - {HARNESS, *_PYTHON}


def describe(error: Exception, plugin: type | str | None = None) -> str:
    """Return an error in one line: its message, and for an unexpected error its type and place.

    Examples: "KeyError: 'depth' (smooth_depth.py:31 in step)"; "Optimiser.name: unknown setting
    'name'; available: beta1, ... (smooth_depth.py:12 in Smooth)".

    Args:
        error: an error that was raised.
        plugin: as for `where`.
    """
    message = " ".join(str(error).split())
    if isinstance(error, BenchError):
        return message
    if is_out_of_memory(error):
        return out_of_memory(error)
    kind = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{_wrong_fields(error) or kind} ({where(error, plugin)})"


def _wrong_fields(error: Exception) -> str:
    """Return the wrong fields of a record of pydantic, in words; empty for other errors."""
    if not isinstance(error, ValidationError):
        return ""
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    record = next((type(one) for one in reversed(owners) if isinstance(one, BaseModel)), None)
    if record is None:
        return ""

    def place(field: str) -> str:
        return f"{record.__name__}.{field}"

    return "; ".join(problems_of(error, record, place))


def _internal(frame: FrameType) -> bool:
    """Return whether a frame is of Python's import system, or of pydantic."""
    module = str(frame.f_globals.get("__name__", ""))
    return frame.f_code.co_filename.startswith("<frozen") or module.startswith("pydantic.")


def package_of(module: str) -> str:
    """Return the top-level package of a module; the reference methods are a package themselves."""
    return METHODS if module.startswith(f"{METHODS}.") else module.partition(".")[0]


def _package_of_frame(frame: FrameType) -> str:
    return package_of(str(frame.f_globals.get("__name__", "")))
