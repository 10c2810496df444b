"""Claims: files by which any number of processes share work without doing any of it twice.

A claim is a file that its owner creates exclusively, in a folder or in a store. A thread of the
owner touches it every `BEAT_SECONDS`. A claim that has not been touched for `STALE_SECONDS`, by the
clock of the file system or store, may be taken over, and that of an ended process of the same
machine at once. A claim saves work; no result depends on it, because results are written
atomically.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ttt_bench.errors import BenchError
from ttt_bench.util.os_errors import explained, explained_reading
from ttt_bench.util.owner import is_gone, machine, start_of
from ttt_bench.util.store.leases import leases_in
from ttt_bench.util.text import short_name

CLAIMS = ".claims"
"""The usual name of a folder of claims."""
CLAIM = ".claim"
"""End of the name of a claim."""
BEAT_SECONDS = 10.0
STALE_SECONDS = 120.0
"""Longer than network file systems keep the times of files in memory (60 seconds)."""
POLL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The holder of a claim.

    Attributes:
        host: name of the machine, for messages.
        machine: identifies the set of processes that `pid` refers to.
        pid: the process.
        started: when it started, as `start_of` tells; another process may get its number later.
        run: identifies the run that the process is a worker of; empty for other processes.
        token: a random text, different for every claim.
    """

    host: str = field(default_factory=socket.gethostname)
    machine: str = field(default_factory=machine)
    pid: int = field(default_factory=os.getpid)
    started: str = ""
    run: str = ""
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def text(self) -> str:
        """The content of its claim."""
        return json.dumps(asdict(self))

    @property
    def is_gone(self) -> bool:
        """Whether it is a process of this machine that has ended."""
        return is_gone(self.machine, self.pid, self.started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


UNKNOWN = Owner(host="an unknown host", machine="", pid=0, token="unknown")
"""The owner of a claim that is being written, or damaged."""


def claim_file(name: str) -> str:
    """Return the name of the file by which a unit of work is claimed."""
    return f"{short_name(name)}{CLAIM}"


class Claims:
    """The claims in one folder.

    Args:
        folder: holds a file per claim; it is created with the first claim. For a folder in a
            mirror, the claims are in its store.
        hint: as for `ttt_bench.util.os_errors.explained`.
        beat_seconds: seconds between two touches of a claim.
        stale_seconds: age from which a claim may be taken over.
        poll_seconds: seconds between two looks at a claim that is waited for.
        run: as for `Owner`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        hint: str = "",
        beat_seconds: float = BEAT_SECONDS,
        stale_seconds: float = STALE_SECONDS,
        poll_seconds: float = POLL_SECONDS,
        run: str = "",
    ) -> None:
        self.folder, self.hint, self.poll_seconds, self.run = folder, hint, poll_seconds, run
        self._leases = leases_in(folder)
        self._beat_seconds, self._stale_seconds = beat_seconds, stale_seconds

    def files(self) -> frozenset[str]:
        """Return the `claim_file` of every unit that is claimed, and names of other files.

        The owner of a claim may have ended; `attempt` finds that out.

        Raises:
            BenchError: the claims cannot be listed.
        """
        with explained_reading(self.folder):
            return self._leases.names()

    @contextmanager
    def attempt(self, name: str) -> Iterator[Owner | None]:
        """Claim a unit of work for the block, and yield None; or yield the owner who has it.

        Args:
            name: the unit, as a name of a file.

        Raises:
            BenchError: the claim cannot be written.
        """
        claim = claim_file(name)
        own = Owner(started=start_of(os.getpid()), run=self.run)
        with explained(self.folder / claim, self.hint):
            other = self._take(claim, own)
        if other is not None:
            yield other
            return
        stop = threading.Event()
        beat = threading.Thread(target=self._beat, args=(claim, own, stop), daemon=True)
        beat.start()
        try:
            yield None
        finally:
            stop.set()
            beat.join()
            self._release(claim, own)

    @contextmanager
    def waiting(self, name: str, title: str, notice: Callable[[str], None]) -> Iterator[None]:
        """Claim a unit of work for the block; wait as long as another process has it.

        Args:
            name: the unit, as a name of a file.
            title: the unit in messages, such as "training base".
            notice: called once with a message that names the owner, if there is one.

        Raises:
            BenchError: the claim cannot be written.
        """
        told = False
        while True:
            with self.attempt(name) as other:
                if other is None:
                    yield
                    return
            if not told:
                notice(f"waiting for {title} by {other}")
                told = True
            time.sleep(self.poll_seconds)

    def owner(self, claim: str) -> Owner | None:
        """Return the owner of a claim; None if it has been released.

        Args:
            claim: the name of its file.
        """
        text = self._leases.read(claim)
        return None if text is None else _parsed(text)

    def remove_ended(self) -> None:
        """Remove the claims of ended processes of this machine from a local folder.

        Raises:
            BenchError: a claim cannot be removed.
        """
        for path in self.folder.glob(f"*{CLAIM}"):
            owner = self.owner(path.name)
            if owner is not None and owner.is_gone:
                with self.attempt(path.stem):
                    pass  # a claim that is taken over is removed at the end of the block

    def _take(self, claim: str, own: Owner) -> Owner | None:
        """Create the claim, or take it over; return its owner if it is in use."""
        if self._leases.create(claim, own.text):
            return None
        other = self.owner(claim)
        if other is None or not self._is_over(claim, other):
            return other or UNKNOWN
        # of all that find the claim stale, the one that creates this file takes it over
        succession = f"{claim.removesuffix(CLAIM)}.{other.token}"
        if not self._leases.create(succession, own.text):
            self._remove_old(succession)
            return other
        try:
            if self.owner(claim) != other:
                return UNKNOWN
            self._leases.replace(claim, own.text)
            return None
        finally:
            with suppress(OSError, BenchError):  # it must not replace an error of the block
                self._leases.remove(succession)

    def _is_over(self, claim: str, other: Owner) -> bool:
        """Return whether the owner of a claim has ended or has not touched it for too long."""
        # a claim of the future was made before the clock of the file system was set back
        age = abs(self._leases.age(claim))
        return other.is_gone or age > self._stale_seconds

    def _remove_old(self, succession: str) -> None:
        """Remove the file of a successor that ended before it took the claim over."""
        if self._leases.age(succession) > self._stale_seconds:
            self._leases.remove(succession)

    def _beat(self, claim: str, own: Owner, stop: threading.Event) -> None:
        while not stop.wait(self._beat_seconds):
            with suppress(OSError, BenchError):
                if self.owner(claim) == own:
                    self._leases.touch(claim, own.text)

    def _release(self, claim: str, own: Owner) -> None:
        with suppress(OSError, BenchError):
            if self.owner(claim) == own:
                self._leases.remove(claim)


def _parsed(text: str) -> Owner:
    try:
        record = json.loads(text)
        return Owner(**{**record, "pid": int(record["pid"])})
    except (ValueError, TypeError, LookupError, RecursionError):
        return UNKNOWN
