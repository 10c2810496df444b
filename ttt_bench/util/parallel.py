"""Work on many files side by side. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ttt_bench.util.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

_PIECE = 32


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    title: str,
    progress: Progress,
    threads: int = 4,
) -> Iterator[Result]:
    """The results of some work on each item, in order, under a progress bar of that title.

    Threads suffice where the time goes into reading files and into Pillow, which works outside the
    interpreter's lock.
    """
    with (
        progress.bar(title, len(items)) as bar,
        ThreadPoolExecutor(min(threads, 2 * (os.cpu_count() or 1))) as pool,
    ):
        # in pieces, because a pool queues all that it is given at once and keeps what it has made
        for start in range(0, len(items), _PIECE):
            for result in pool.map(work, items[start : start + _PIECE]):
                yield result
                bar.advance()
