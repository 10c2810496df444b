"""How long work reports on itself, without knowing where the report goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """One piece of long work."""

    def advance(self, amount: int = 1, note: str = "") -> None: ...


class Progress(Protocol):
    """Where long work shows its progress; the command line supplies one, a library caller need
    not.
    """

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]: ...

    def notice(self, message: str) -> None:
        """A notice that the user should see once."""
        ...


class _SilentBar:
    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


class NoticeRecorder:
    """Shows bars where another display does, and keeps what is said instead of showing it."""

    def __init__(self, display: Progress) -> None:
        self.bar = display.bar
        self.notices: list[str] = []

    def notice(self, message: str) -> None:
        self.notices.append(message)


class Silent:
    """A progress display that shows nothing."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        yield _SilentBar()

    def notice(self, message: str) -> None:
        pass
