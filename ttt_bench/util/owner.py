"""Identify the process that owns a temporary file or a claim, and find out whether it runs."""

from __future__ import annotations

import os
import socket
from functools import cache
from hashlib import sha256
from pathlib import Path


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


def is_gone(machine_id: str, pid: int) -> bool:
    """Return whether a process of this machine has ended; False if that cannot be known."""
    if machine_id != machine() or os.name != "posix":
        return False  # on Windows, os.kill ends the process that it asks for
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")
