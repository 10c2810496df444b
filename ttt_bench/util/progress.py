"""Interfaces by which long work reports its progress, independent of the display."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """The progress bar of one task."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """Move the bar forward; `note` is a short text next to it, such as the current loss."""
        ...


class Progress(Protocol):
    """A display for progress and notices. The command line supplies one; `Silent` is another."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Yield a bar of `total` steps, of which `done` are complete already."""
        ...

    def notice(self, message: str) -> None:
        """Show a message that the user should see once."""
        ...


class _SilentBar:
    def advance(self, amount: int = 1, note: str = "") -> None:
        pass


class Silent:
    """A display that shows nothing."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Yield a bar that shows nothing."""
        yield _SilentBar()

    def notice(self, message: str) -> None:
        """Ignore the message."""
