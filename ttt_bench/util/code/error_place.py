"""The place in a plugin's code where an error was raised."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType

from ttt_bench.errors import BenchError
from ttt_bench.util.os_errors import is_out_of_memory, out_of_memory

HARNESS = "ttt_bench"
METHODS = f"{HARNESS}.methods"
_PYTHON = {"abc", "builtins", "typing"}


def where(error: BaseException, method: type | None = None) -> str:
    """Return the file, line and function of an error, such as "file.py:12 in step".

    Args:
        error: an error that was raised.
        method: the plugin's class. The innermost line in the packages of the class and of its base
            classes is named. None, or no such line: the innermost line of all.
    """
    frames = [place for place in traceback.walk_tb(error.__traceback__) if not _frozen(place[0])]
    if not frames:
        return "an unknown line"
    packages = packages_of(method) if method else set()
    own = [place for place in frames if _package_of_frame(place[0]) in packages]
    frame, line = (own or frames)[-1]
    return f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"


def packages_of(plugin: type) -> set[str]:
    """Return the top-level packages of a plugin's class and of its base classes.

    The harness and Python's own modules are left out.
    """
    return {package_of(base.__module__) for base in plugin.__mro__} - {HARNESS, *_PYTHON}


def describe(error: Exception, plugin: type | None = None) -> str:
    """Return an error in one line: its message, and for an unexpected error its type and place.

    Example: "KeyError: 'depth' (smooth_depth.py:31 in step)".

    Args:
        error: an error that was raised.
        plugin: as `method` of `where`.
    """
    message = " ".join(str(error).split())
    if isinstance(error, BenchError):
        return message
    if is_out_of_memory(error):
        return out_of_memory(error)
    kind = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{kind} ({where(error, plugin)})"


def _frozen(frame: FrameType) -> bool:
    """Return whether a frame is of Python's import system, which has no source file."""
    return frame.f_code.co_filename.startswith("<frozen")


def package_of(module: str) -> str:
    """Return the top-level package of a module; the reference methods are a package themselves."""
    return METHODS if module.startswith(f"{METHODS}.") else module.partition(".")[0]


def _package_of_frame(frame: FrameType) -> str:
    return package_of(str(frame.f_globals.get("__name__", "")))
