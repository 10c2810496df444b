"""Look into folders below a data root: only regular files are data. Imports no torch.

Folders that operating systems and storage devices create next to any files are passed over, as
hidden ones are.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ttt_bench.util.os_errors import explained_reading

_STRAY_STARTS = (".", "@", "#", "~", "$", "__")
"""Starts of names such as .Trash-1000, @eaDir, #recycle, $RECYCLE.BIN, __MACOSX."""
_STRAY_NAMES = frozenset({"lost+found", "system volume information", "recycler", "found.000"})


class Contents(NamedTuple):
    """The names in a folder, each tuple sorted.

    Attributes:
        folders: folders, and links to them.
        files: regular files, and links to them.
        others: links to nothing or to themselves, pipes, sockets and devices.
    """

    folders: tuple[str, ...]
    files: tuple[str, ...]
    others: tuple[str, ...]


def contents_of(folder: Path, title: str = "") -> Contents:
    """Return the names in a folder without hidden and stray folders.

    Args:
        title: name of the data set, for the message.

    Raises:
        DataError: the folder cannot be read.
    """
    folders, files, others = [], [], []
    with explained_reading(folder, title), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) or _is_file(entry):
                files.append(entry.name)
            elif not _is_folder(entry):
                others.append(entry.name)
            elif not is_stray(entry.name):
                folders.append(entry.name)
    return Contents(tuple(sorted(folders)), tuple(sorted(files)), tuple(sorted(others)))


def folders_in(folder: Path, title: str = "") -> list[Path]:
    """Return the folders in a folder, sorted, without hidden and stray ones.

    Raises:
        DataError: the folder cannot be read.
    """
    return [folder / name for name in contents_of(folder, title).folders]


def is_stray(name: str) -> bool:
    """Return whether a folder of this name belongs to an operating system or a storage device."""
    return name.startswith(_STRAY_STARTS) or name.casefold() in _STRAY_NAMES


def is_folder(path: Path) -> bool:
    """Return whether a path is a folder; False if that cannot be found out."""
    with suppress(OSError, ValueError):
        return path.is_dir()
    return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link that leads back to itself
        return entry.is_file()
    return False


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_dir()
    return False
