"""Limit how often something is repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Pace:
    """When to repeat something whose duration grows with the sweep.

    Attributes:
        seconds: least seconds between two repetitions.
        share: largest share of the time that the repetitions take.
    """

    seconds: float
    share: float = 0.05
    _next: float = field(default=-float("inf"), init=False, repr=False)

    @property
    def due(self) -> bool:
        """Whether it is time for the next repetition."""
        return time.monotonic() >= self._next

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Run one repetition as the block."""
        started = time.monotonic()
        yield
        ended = time.monotonic()
        self._next = ended + max(self.seconds, (ended - started) / self.share)
