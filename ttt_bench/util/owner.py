"""Identify the process that owns a temporary file or a claim, and find out whether it runs."""

from __future__ import annotations

import os
import socket
from functools import cache
from hashlib import sha256
from pathlib import Path

_ENDED = ("Z", "X")
"""States of processes that have ended, but whose parent has not asked for their exit codes."""


@cache
def machine() -> str:
    """Return an identifier of the set of processes that process numbers refer to.

    It covers the host's name, its boot and, on Linux, the container: equal process numbers on two
    hosts or in two containers are different processes.
    """
    parts = [socket.gethostname()]
    for read in (_boot, _namespace):
        try:
            parts.append(read())
        except OSError:
            continue
    return sha256("\n".join(parts).encode()).hexdigest()[:8]


def start_of(pid: int) -> str:
    """Return when a process of this machine started; empty if that cannot be known.

    Two processes that had the same number after each other have different starts.
    """
    state, start = _state_and_start(pid)
    return "" if state in _ENDED else start


def is_gone(machine_id: str, pid: int, started: str = "") -> bool:
    """Return whether a process of this machine has ended; False if that cannot be known.

    Args:
        machine_id: what `machine` returned in the process.
        pid: its number.
        started: its `start_of`; empty if that is not known.
    """
    if machine_id != machine() or os.name != "posix":
        return False  # on Windows, os.kill ends the process that it asks for
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    state, start = _state_and_start(pid)
    return state in _ENDED or bool(started and start and start != started)


def _state_and_start(pid: int) -> tuple[str, str]:
    """Return the state of a process and the clock ticks from boot to its start, from Linux."""
    try:
        # the name before it may contain anything, also a parenthesis
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")
