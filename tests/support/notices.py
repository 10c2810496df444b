"""A display that stores what it is told, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ttt_bench.util.progress import Bar, NoticeRecorder, Silent


class Notices(NoticeRecorder):
    """A display that stores notices and the titles of bars."""

    def __init__(self) -> None:
        super().__init__(Silent())
        self.titles: list[str] = []
        self.bar = self._titled

    def heard(self, *words: str) -> bool:
        """Return whether one notice contains all these words."""
        return any(all(word in message for word in words) for message in self.notices)

    @contextmanager
    def _titled(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        self.titles.append(title)
        with Silent().bar(title, total, done) as bar:
            yield bar
