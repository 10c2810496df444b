"""The progress of one run: how far it is, and when it is saved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ttt_bench.errors import BenchError
from ttt_bench.util.interrupts import held_interrupts
from ttt_bench.util.progress import Bar, Progress, Silent

SAVE_SECONDS = 60.0


@dataclass(kw_only=True)
class RunProgress:
    """Show how far a run is, and save it from time to time.

    Attributes:
        display: shows one bar per run.
        title: the bar's title.
        save: called with the next unit of work when it is time to save, and when the run is
            interrupted; None if nothing is saved.
        save_seconds: the shortest time between two saves; below 0, every unit is saved.
    """

    display: Progress = field(default_factory=Silent)
    title: str = ""
    save: Callable[[int], None] | None = None
    save_seconds: float = SAVE_SECONDS
    _saved: float = field(default=0.0, init=False)
    _bar: Bar | None = field(default=None, init=False)
    _interrupted: Callable[[], bool] = field(default=lambda: False, init=False)

    @contextmanager
    def shown(self, total: int, done: int) -> Iterator[None]:
        """Show a bar of `total` scored batches, of which `done` were scored before.

        Within the block, signals that stop the run are deferred to the end of a unit of work.
        """
        self._saved = time.monotonic()
        with (
            self.display.bar(self.title, total, done) as self._bar,
            held_interrupts() as self._interrupted,
        ):
            yield

    def advance(self) -> None:
        """Count one scored batch."""
        if self._bar is not None:
            self._bar.advance()

    def finish(self, unit: int) -> None:
        """Save if unit `unit`, counted from 0, ends a period of `save_seconds`.

        Raises:
            KeyboardInterrupt: the run was interrupted; it has been saved.
        """
        stopped = self._interrupted()
        if self.save is not None and (
            stopped or time.monotonic() - self._saved > self.save_seconds
        ):
            self._try_to_save(self.save, unit + 1)
            self._saved = time.monotonic()
        if stopped:
            raise KeyboardInterrupt

    def _try_to_save(self, save: Callable[[int], None], unit: int) -> None:
        """Save; on failure give a notice only, because the run does not need it."""
        try:
            save(unit)
        except BenchError as error:
            self.display.notice(f"{error}. The run continues without this save")
