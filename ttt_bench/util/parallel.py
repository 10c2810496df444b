"""Process many files in several threads. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ttt_bench.util.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 32
"""Items that are submitted at once; a pool keeps all waiting items and results in memory."""


def map_in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    title: str,
    progress: Progress,
    threads: int = 4,
) -> Iterator[Result]:
    """Yield `work(item)` for each item, in order, and show a progress bar with the title.

    Threads suffice if most of the time is spent in file access and in Pillow, which releases the
    interpreter's lock.
    """
    with (
        progress.bar(title, len(items)) as bar,
        ThreadPoolExecutor(min(threads, 2 * (os.cpu_count() or 1))) as pool,
    ):
        for start in range(0, len(items), _CHUNK):
            for result in pool.map(work, items[start : start + _CHUNK]):
                yield result
                bar.advance()
