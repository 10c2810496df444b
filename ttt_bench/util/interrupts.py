"""Defer the signals that stop a run until the current unit of work is complete."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
)
"""Ctrl-C, the end of a job, a closed terminal, and the warning that Slurm sends before the end."""


def stop_on_signals() -> None:
    """Make all of `SIGNALS` raise KeyboardInterrupt, as Ctrl-C does, where nothing else is set.

    Ignored signals stay ignored: `nohup` ignores SIGHUP.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def ignore_signals() -> None:
    """Ignore all of `SIGNALS` from now on, so that the last message is written."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Delay all of `SIGNALS` until the end of the block.

    A process that is started within the block never gets them: its parent ends it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Restore the handlers of `SIGNALS` after the block, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held_interrupts() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether the process was interrupted within the block.

    The first signal is only recorded. A second one raises KeyboardInterrupt at once. Signals that
    are ignored or that the program handles itself are left alone. Python delivers signals to the
    main thread; in other threads the block changes nothing.
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
    usual = (signal.SIG_DFL, signal.default_int_handler)
    held = [number for number in SIGNALS if signal.getsignal(number) in usual]
    before = {number: signal.signal(number, record) for number in held}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
