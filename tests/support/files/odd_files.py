"""Entries of a folder that are no regular files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

ODD = (
    "named pipe",
    "socket",
    "link to itself",
    "link to nothing",
    "link to a device",
    "folder",
)


def write_odd(path: Path, kind: str) -> None:
    """Write an entry that is no regular file."""
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)  # without the limit on the length of its path
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "link to nothing":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
