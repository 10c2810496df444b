"""The place in a plugin's code where an error was raised."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType

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
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return "an unknown line"
    packages = {_package(base.__module__) for base in method.__mro__} if method else set()
    own = [place for place in frames if _module(place[0]) in packages - {HARNESS, *_PYTHON}]
    frame, line = (own or frames)[-1]
    return f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"


def _module(frame: FrameType) -> str:
    return _package(str(frame.f_globals.get("__name__", "")))


def _package(module: str) -> str:
    """Return the top-level package of a module; the reference methods are a package themselves."""
    return METHODS if module.startswith(f"{METHODS}.") else module.partition(".")[0]
