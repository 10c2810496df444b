"""Write files and folders atomically: a reader finds the previous content or the complete new one.

The new content is written under a temporary name in the same folder (`.NAME.tmp-...`) and renamed.
If writing fails or is interrupted, the temporary content is removed and the previous content stays.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ttt_bench.util.os_errors import Errors, explained

TEMPORARY_MARK = ".tmp-"
"""Part of every temporary name; a killed process may leave such files."""


@contextmanager
def atomic_file(path: Path, hint: str = "", errors: Errors = ()) -> Iterator[Path]:
    """Yield a temporary path whose file replaces `path` after the block, flushed to the disk.

    Missing parent folders are created.

    Args:
        hint: as for `ttt_bench.util.os_errors.explained`.
        errors: as for `ttt_bench.util.os_errors.explained`.

    Raises:
        BenchError: the file cannot be written; the message contains the cause and the hint.
    """
    with explained(path, hint, errors):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            yield temporary
            _flush(temporary)


@contextmanager
def atomic_folder(
    folder: Path, hint: str, errors: Errors = (), *, keep_existing: bool = False
) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces `folder` after the block, flushed to the disk.

    Args:
        hint: as for `atomic_file`.
        errors: as for `atomic_file`.
        keep_existing: keep a folder that another process has put in place during the block, and
            discard the new one.

    Raises:
        BenchError: the folder cannot be written; the message contains the cause and the hint.
    """
    temporary = _temporary(folder)
    try:
        with explained(folder, hint, errors):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            for path in temporary.rglob("*"):
                if path.is_file():
                    _flush(path)
            if not (keep_existing and folder.exists()):
                _put_in_place(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file replaces `path` after the block.

    Unlike `atomic_file`, it does not flush to the disk and leaves OSError as it is. It serves for
    one of many files that the same command can write again.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def require_writable(folder: Path, hint: str) -> None:
    """Create a folder, if missing, and check that a file can be written in it.

    Raises:
        BenchError: it cannot; the message contains the cause and the hint.
    """
    with explained(folder, hint):
        folder.mkdir(parents=True, exist_ok=True)
        probe = _temporary(folder / "write-test")
        probe.touch()
        probe.unlink()


def _temporary(path: Path) -> Path:
    """Return a name next to `path` that no other thread or process uses."""
    return path.with_name(f".{path.name}{TEMPORARY_MARK}{os.getpid()}-{threading.get_ident()}")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Rename a folder; the existing one moves aside first and returns if the renaming fails."""
    previous = _temporary(folder.with_name(f"{folder.name}-previous"))
    with suppress(FileNotFoundError):
        folder.rename(previous)
    try:
        temporary.rename(folder)
    except OSError:
        if previous.exists():
            previous.rename(folder)
        raise
    shutil.rmtree(previous, ignore_errors=True)
