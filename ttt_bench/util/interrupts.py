"""Defer Ctrl-C and SIGTERM until the current unit of work is complete."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether the process was interrupted within the block.

    The first signal is only recorded. A second one raises KeyboardInterrupt at once. Python
    delivers signals to the main thread; in other threads the block changes nothing.
    """
    asked = False

    def record(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    before = {number: signal.signal(number, record) for number in SIGNALS}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
