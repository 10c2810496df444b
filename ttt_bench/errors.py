"""Errors that a user can mend: one clear message, never a traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BenchError(Exception):
    """Something that the user can mend; the message says what is wrong, where, and what to do
    next.
    """


class DivergedError(BenchError):
    """A loss or a prediction that is not finite.

    Attributes:
        step: the adaptation step, or the iteration of source training, at which it was seen.
    """

    def __init__(self, message: str, step: int) -> None:
        super().__init__(message)
        self.step = step


class DataError(BenchError):
    """Data that are missing, damaged or not what their format says."""


def unknown(kind: str, name: str, available: Iterable[str]) -> BenchError:
    """The error for a name that is not in a closed list, with the nearest names first.

    >>> str(unknown("method", "tnet", ["tent", "base"]))
    "unknown method 'tnet'; did you mean tent? (available: base, tent)"
    """
    names = sorted(set(available))
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {', '.join(near)}?" if near else ";"
    listed = (
        f" (available: {', '.join(names)})" if near else f" available: {', '.join(names) or 'none'}"
    )
    return BenchError(f"unknown {kind} {name!r}{hint}{listed}")
