"""Errors that the user can fix. The command line shows their message without a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class BenchError(Exception):
    """An error that the user can fix; the message says what is wrong, where, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class DivergedError(BenchError):
    """A loss or a prediction is not finite.

    Attributes:
        step: the first adaptation step, or iteration of source training, with such a value.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class ClaimError(BenchError):
    """A method does not do what its plan claims."""


class ProcessError(BenchError):
    """A plugin has changed the state of the Python process, which other methods share."""


class DataError(BenchError):
    """Data are missing, damaged, or do not follow their format."""


class DamagedError(BenchError):
    """A file that an earlier run wrote has another content than was written.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, reason: str, remedy: str) -> None:
        super().__init__(f"{path} is damaged ({reason}); {remedy}")
        self.path = path


def unknown(kind: str, name: str, available: Iterable[str]) -> BenchError:
    """Return the error for a name that is not in a closed list; similar names come first.

    >>> str(unknown("method", "tnet", ["tent", "base"]))
    "unknown method 'tnet'; did you mean tent? (available: base, tent)"
    """
    names = sorted(set(available))
    lower = {one.casefold(): one for one in names}
    near = [lower[one] for one in get_close_matches(name.casefold(), lower, n=3, cutoff=0.5)]
    hint = f"; did you mean {', '.join(near)}?" if near else ";"
    listed = (
        f" (available: {', '.join(names)})" if near else f" available: {', '.join(names) or 'none'}"
    )
    return BenchError(f"unknown {kind} {name!r}{hint}{listed}")


def printable(text: str) -> str:
    r"""Return a text that every stream and file can take.

    Bytes of file names that are not UTF-8 become escapes.

    >>> printable("r\udce4ume")
    'r\\udce4ume'
    """
    return text.encode(errors="backslashreplace").decode()
