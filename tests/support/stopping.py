"""A progress display that interrupts an adaptation halfway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ttt_bench.protocols import PROTOCOLS
from ttt_bench.util.progress import Bar, Silent


class _CountingBar:
    def __init__(self, owner: Stopping, total: int) -> None:
        self._owner, self._total = owner, total

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._owner.scored += amount
        if self._owner.error and self._owner.scored == self._total // 2 + 1:
            raise self._owner.error


class Stopping(Silent):
    """Count the scored batches of adaptations; raise `error` in the first batch of the second half.

    Attributes:
        scored: number of batches scored so far.
    """

    def __init__(self, error: BaseException | None = None) -> None:
        self.error, self.scored = error, 0

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        adapting = any(f", {protocol}, seed" in title for protocol in PROTOCOLS)
        with super().bar(title, total, done) as bar:
            yield _CountingBar(self, total) if adapting else bar
