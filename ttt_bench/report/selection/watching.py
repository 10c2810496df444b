"""Follow results folders, and write their report again when cells arrive."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import NoReturn

from ttt_bench.analysis.affinity import KIND as AFFINITY
from ttt_bench.errors import BenchError
from ttt_bench.results.study_files import FOLDER as STUDIES
from ttt_bench.results.timings import KIND as TIMING
from ttt_bench.util.store import mirror

SECONDS = 5.0
"""Shortest time between two looks at the folders."""
CONTENT = ("cells/*/*", f"{TIMING}/*", f"{AFFINITY}/*", f"{STUDIES}/*")
"""The files and folders that change if a cell, a measurement or a study is stored."""

Wait = Callable[[float], None]


def stamp(folders: Sequence[Path]) -> frozenset[tuple[str, int]]:
    """Return the name and time of change of everything that is stored in results folders."""
    for folder in folders:
        mirror.fetch(folder)
    found = (path for folder in folders for pattern in CONTENT for path in folder.glob(pattern))
    return frozenset(filter(None, map(_changed, found)))


def _changed(path: Path) -> tuple[str, int] | None:
    """Return the path and the time of its last change; None if it is gone or is temporary."""
    if path.name.startswith("."):
        return None
    try:
        return str(path), path.stat().st_mtime_ns
    except OSError:
        return None


def follow(
    look: Callable[[], Hashable],
    write: Callable[[], str],
    say: Callable[[str], None],
    wait: Wait = time.sleep,
) -> NoReturn:
    """Call `write` whenever `look` returns something new, until the process is interrupted.

    A report takes at most half of the time: the pause is as long as the last report took.

    Args:
        look: returns what is stored; nothing as long as nothing is.
        write: writes the report, and returns a line about it.
        say: prints a line.
        wait: waits for this many seconds.

    Raises:
        BenchError: the first report cannot be written. Later problems are printed.
    """
    before: Hashable = None
    written = False
    while True:
        started, now = time.monotonic(), look()
        if not now and before is None:
            say("waiting for the first cell")
        elif now and now != before:
            try:
                say(write())
                written = True
            except BenchError as error:
                if not written:
                    raise
                say(f"not updated: {error}")
        before = now
        wait(max(SECONDS, time.monotonic() - started))
