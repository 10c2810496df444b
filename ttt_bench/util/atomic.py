"""Write files and folders atomically: a reader finds the previous content or the complete new one.

The new content is written under a temporary name in the same folder (`.NAME.tmp-...`) and renamed.
If writing fails or is interrupted, the temporary content is removed and the previous content stays.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ttt_bench.util.os_errors import Errors, explained
from ttt_bench.util.owner import is_gone, machine
from ttt_bench.util.text import short_name

TEMPORARY_MARK = ".tmp-"
"""Part of every temporary name; a killed process may leave such files."""
OLD_SECONDS = 24 * 3600.0
"""Age from which temporary content of a process on another machine is taken to be left over."""

_OWNER = re.compile(re.escape(TEMPORARY_MARK) + r"(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-[0-9a-f]+$")


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
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            _set_mode(temporary, mode)
            _flush(temporary)


@contextmanager
def atomic_folder(
    folder: Path, hint: str = "", errors: Errors = (), *, commit: str | None = None
) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `folder` after the block, flushed to the disk.

    A folder that exists then, also one that another process has put in place during the block, is
    never removed. Without `commit` it stays as it is, and the new one is discarded.

    Args:
        hint: as for `ttt_bench.util.os_errors.explained`.
        errors: as for `ttt_bench.util.os_errors.explained`.
        commit: name of the file that makes the others valid. Files of an existing folder that
            differ are replaced one by one, this one last; then files that the new folder lacks
            are removed.

    Raises:
        BenchError: the folder cannot be written; the message contains the cause and the hint.
    """
    draft = temporary_path(folder)
    try:
        with explained(folder, hint, errors):
            draft.mkdir(parents=True)
            yield draft
            for path in draft.rglob("*"):
                if path.is_file():
                    _flush(path)
            if not _renamed(draft, folder) and commit is not None:
                _merge(draft, folder, commit)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path whose file replaces `path` after the block.

    Unlike `atomic_file`, it does not flush to the disk and leaves OSError as it is. It serves for
    one of many files that the same command can write again.
    """
    temporary = temporary_path(path)
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
        probe = temporary_path(folder / "write-test")
        probe.touch()
        probe.unlink()


def temporary_path(path: Path) -> Path:
    """Return a path next to `path` that no other thread, process or machine uses."""
    owner = f"{machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{short_name(path.name)}{TEMPORARY_MARK}{owner}")


def remove_leftovers(folder: Path) -> list[Path]:
    """Remove temporary files and folders of ended processes from a folder; return their paths.

    Content of another machine is removed if it is older than `OLD_SECONDS`.
    """
    removed = []
    for path in sorted(folder.glob(f".*{TEMPORARY_MARK}*")):
        if is_left_over(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def age(path: Path) -> float:
    """Return the seconds since a file was touched, by the clock of its file system.

    The clocks of machines differ, and may be set. Without the file, or if nothing can be written
    next to it, the age is 0.
    """
    probe = temporary_path(path)
    try:
        probe.touch()
        return probe.stat().st_mtime - path.lstat().st_mtime
    except OSError:
        return 0.0
    finally:
        with suppress(OSError):
            probe.unlink()


def is_left_over(path: Path) -> bool:
    """Return whether the process that made temporary content has ended, as far as is known."""
    owner = _OWNER.search(path.name)
    if owner is not None and is_gone(owner["machine"], int(owner["pid"])):
        return True
    if owner is not None and owner["machine"] == machine():
        return False
    return age(path) > OLD_SECONDS


def _set_mode(path: Path, mode: int) -> None:
    """Give a file the mode that new files get; some libraries create files for the user alone."""
    if path.stat().st_mode != mode:
        with suppress(OSError):  # not every file system has modes
            path.chmod(mode)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _renamed(draft: Path, folder: Path) -> bool:
    """Rename a folder; return False if a folder with content is in its place."""
    try:
        draft.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST) and folder.is_dir():
            return False
        raise
    return True


def _merge(draft: Path, folder: Path, commit: str) -> None:
    """Replace the files of a folder by those of a draft, `commit` last, and remove the others."""
    new = {path.name for path in draft.iterdir()}
    for name in sorted(new, key=lambda name: (name == commit, name)):
        if not _equal(draft / name, folder / name):
            (draft / name).replace(folder / name)
    for path in folder.iterdir():
        if path.name not in new and path.is_file():
            path.unlink(missing_ok=True)


def _equal(first: Path, second: Path) -> bool:
    try:
        return first.read_bytes() == second.read_bytes()
    except FileNotFoundError:
        return False
