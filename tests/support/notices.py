"""A display for tests that stores notices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ttt_bench.util.progress import Bar, Silent


class Notices(Silent):
    """A display that stores notices and the titles of bars, and counts the steps of all bars."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.titles: list[str] = []
        self.advanced = 0

    def notice(self, message: str) -> None:
        """Append the message to `notices`."""
        self.notices.append(message)

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Count the steps of a bar."""
        self.advanced += amount

    def heard(self, *words: str) -> bool:
        """Return whether one notice contains all these words."""
        return any(all(word in message for word in words) for message in self.notices)

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Yield a bar; its title is stored and its steps are counted."""
        self.titles.append(title)
        yield self
