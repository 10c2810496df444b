"""How long pieces of a sweep's work took: in `attempts.json`, and next to the checkpoints.

No number of a cell depends on these records. They predict how long similar work takes.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.results.records import MANIFEST
from ttt_bench.util.input.validation import Strict
from ttt_bench.util.stored import sealed

TIMES = ".times.json"
"""End of the name of the file next to a checkpoint."""
REMEDY = "the next training of this checkpoint writes it again; only predicted times use it"
TIMED = "timed"
"""The entry of an attempt at a cell that holds its record."""


class Stopwatch:
    """Counts the seconds of work from its creation on, added to those of earlier attempts.

    Args:
        before: seconds of the earlier attempts at the same work.
    """

    def __init__(self, before: float = 0.0) -> None:
        self._before, self._started = before, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of all attempts so far."""
        return self._before + time.perf_counter() - self._started


class Work(Strict):
    """A piece of work, measured or not.

    Attributes:
        kind: what is done, such as "adapting with tent".
        needs: conditions that must be equal for one time to predict another.
        likes: further conditions, the most important first. Work in which more of the first ones
            are equal is a better predictor.
        units: the amount of work; the time is proportional to it.
    """

    kind: str
    needs: dict[str, Any]
    likes: dict[str, Any]
    units: float


class TimedWork(Strict):
    """A piece of work with the time that it took.

    Attributes:
        work: the work.
        seconds: seconds that are proportional to the amount of work, over all attempts.
        fixed: further seconds of the last attempt, such as those for building the network.
        host: name of the machine; the committed example omits it.
        finished: the time of the end, in ISO format (UTC).
    """

    work: Work
    seconds: float
    fixed: float = 0.0
    host: str = ""
    finished: str


def timed_now(work: Work, seconds: float, fixed: float = 0.0) -> TimedWork:
    """Return the record of work that ends now on this machine."""
    return TimedWork(
        work=work,
        seconds=seconds,
        fixed=fixed,
        host=socket.gethostname(),
        finished=datetime.now(UTC).isoformat(),
    )


def write_time(checkpoint: Path, timed: TimedWork) -> None:
    """Write how long a checkpoint's content took to the file next to it.

    Raises:
        BenchError: the file cannot be written.
    """
    sealed.write(checkpoint.with_suffix(TIMES), timed.model_dump(mode="json"))


def read_time(path: Path) -> TimedWork:
    """Return the time in a file next to a checkpoint.

    Raises:
        DamagedError: the file is damaged.
        DataError: it cannot be read.
    """
    return TimedWork.model_validate(sealed.read(path, TimedWork, REMEDY))


def read_times(results: Path) -> list[TimedWork]:
    """Return every time that is stored in a results folder; unreadable records are left out."""
    return [*_of_checkpoints(results), *_of_cells(results)]


def _of_checkpoints(results: Path) -> Iterator[TimedWork]:
    for path in sorted((results / "checkpoints").glob(f"*{TIMES}")):
        try:
            yield read_time(path)
        except BenchError:
            continue


def _of_cells(results: Path) -> Iterator[TimedWork]:
    """Yield the time of every finished cell, which its last attempt has."""
    for path in sorted((results / "cells").glob(f"*/*/{MANIFEST}")):
        try:
            attempts = store.read_attempts(path.parent)["attempts"]
            yield TimedWork.model_validate(attempts[-1][TIMED])
        except (BenchError, IndexError, KeyError, ValidationError):
            continue
