"""The files of claims: in a local folder, or in a store by conditional writes."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Protocol

from ttt_bench.util.atomic import age, replacing
from ttt_bench.util.store.address import mirror_of, url_of
from ttt_bench.util.store.remote import Remote, remote

CLOCK_SECONDS = 600.0
"""Seconds after which the clock of a store is read again."""


class Leases(Protocol):
    """Small text files in one folder; names are names of files."""

    def names(self) -> frozenset[str]:
        """Return the names of the files."""

    def create(self, name: str, text: str) -> bool:
        """Create a file; return False if it exists. Of several callers, one succeeds."""

    def read(self, name: str) -> str | None:
        """Return the text of a file; None if it does not exist."""

    def replace(self, name: str, text: str) -> None:
        """Write a file, which may exist."""

    def touch(self, name: str, text: str) -> None:
        """Set the time of a file, whose text is known, to now."""

    def age(self, name: str) -> float:
        """Return the seconds since a file was written or touched; 0 if it does not exist.

        The clock is that of the place where the file is, so the clocks of machines may differ.
        """

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""


def leases_in(folder: Path) -> Leases:
    """Return the claims of a folder: those in the store if it is a mirror's."""
    root = mirror_of(folder)
    return FileLeases(folder) if root is None else StoreLeases(folder, root)


class FileLeases:
    """Claims in a local folder, or in one of a network file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> frozenset[str]:
        try:
            return frozenset(os.listdir(self.folder))
        except FileNotFoundError:
            return frozenset()

    def create(self, name: str, text: str) -> bool:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            file = (self.folder / name).open("x", encoding="utf-8")
        except FileExistsError:
            return False
        try:
            with file:
                file.write(text)
        except OSError:  # an empty claim would count as that of an unknown owner
            self.remove(name)
            raise
        return True

    def read(self, name: str) -> str | None:
        path = self.folder / name
        if not path.is_file():  # to read a pipe could block, and a link may lead nowhere
            return "" if os.path.lexists(path) else None
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None

    def replace(self, name: str, text: str) -> None:
        with replacing(self.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def touch(self, name: str, text: str) -> None:
        os.utime(self.folder / name)

    def age(self, name: str) -> float:
        return age(self.folder / name)

    def remove(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)


class StoreLeases:
    """Claims in a store, which must honour the condition of a conditional write.

    Args:
        folder: the folder of claims in the mirror; nothing is written there.
        root: the mirror.
    """

    def __init__(self, folder: Path, root: Path) -> None:
        self._folder = folder.absolute().relative_to(root).as_posix()
        self._url = str(url_of(root))
        self._offset, self._read_at = 0.0, -float("inf")

    @property
    def _remote(self) -> Remote:
        return remote(self._url)

    def names(self) -> frozenset[str]:
        return frozenset(name.rpartition("/")[2] for name in self._remote.listing(self._folder))

    def create(self, name: str, text: str) -> bool:
        return self._remote.create(self._name(name), text)

    def read(self, name: str) -> str | None:
        return self._remote.read(self._name(name))

    def replace(self, name: str, text: str) -> None:
        self._remote.write(self._name(name), text)

    touch = replace

    def age(self, name: str) -> float:
        written = self._remote.modified(self._name(name))
        return 0.0 if written is None else self._now() - written

    def remove(self, name: str) -> None:
        self._remote.remove(self._name(name))

    def _name(self, name: str) -> str:
        return f"{self._folder}/{name}"

    def _now(self) -> float:
        """Return the time by the store's clock, which is read from a new file now and then."""
        if time.monotonic() - self._read_at > CLOCK_SECONDS:
            probe = self._name(f"clock-{secrets.token_hex(8)}")
            self._remote.write(probe, "")
            written = self._remote.modified(probe)
            self._remote.remove(probe)
            self._read_at = time.monotonic()
            self._offset = (written or 0.0) - self._read_at
        return self._offset + time.monotonic()
