"""Turn errors of the operating system into one line: the file, the real cause, and what to do.

Code that reads or writes below a data root, a results folder or a cache uses `explained_reading`
or `explained`, so that its messages agree and no cause is blamed for another one.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from ttt_bench.errors import BenchError, DataError

Errors = tuple[type[Exception], ...]

_IN_USE = "another program uses or locks it; close that program or wait for it"
_NETWORK = "the network file system does not answer as expected; mount it again and repeat"
_ADVICE = {
    "EACCES": "check its permissions and those of the folders above it",
    "EPERM": "check its permissions, its owner and its attributes",
    "EROFS": "its file system is mounted read-only; mount it writable",
    "ENOSPC": "free some space",
    "EDQUOT": "your quota is used up; free some space",
    "EFBIG": "it is larger than the file system or the process may write (see `ulimit -f`)",
    "ENAMETOOLONG": "its name or path is too long for the file system; use shorter names",
    "EILSEQ": "the file system does not accept its name; rename it",
    "EISDIR": "it is a folder, but a file is expected; move the folder away",
    "ENOTDIR": "a part of its path is a file, but a folder is expected; move the file away",
    "ENOENT": "a folder of the path is missing or was removed meanwhile; repeat the command",
    "EEXIST": "it exists already, perhaps from another program; move it away",
    "ENOTEMPTY": "another program may have written there at the same time; repeat the command",
    "ELOOP": "a link leads back to itself; delete the link",
    "EMLINK": "its folder has as many entries as the file system allows; move some away",
    "EXDEV": "its folder spans two file systems; use a folder on a single one",
    "EMFILE": "too many files are open; raise the limit (see `ulimit -n`) or use fewer workers",
    "ENFILE": "too many files are open on this machine; close other programs",
    "ENOMEM": "free some memory",
    "EIO": "the disk or its connection fails; check the disk, and copy the data from it",
    "ENXIO": "it is not a regular file; move it away",
    "ENODEV": "it is not a regular file; move it away",
    "EBUSY": _IN_USE,
    "ETXTBSY": _IN_USE,
    "EAGAIN": _IN_USE,
    "EDEADLK": _IN_USE,
    "EDEADLOCK": _IN_USE,
    "ENOLCK": "the file system offers no locks; use a folder on another file system",
    "ESTALE": _NETWORK,
    "ETIMEDOUT": _NETWORK,
    "ENOTCONN": _NETWORK,
    "EHOSTDOWN": _NETWORK,
}
"""What to do about an error, by the name of its number; systems differ in the numbers."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_NUMBER_IN_TEXT = re.compile(r"\b(?:os error|errno)\W{1,4}(\d+)", re.IGNORECASE)
"""The error number in messages of libraries: "(os error 28)", "errno = 11", "[Errno 5]"."""
_NO_MEMORY = (
    "can't allocate memory",  # PyTorch on the CPU
    "not enough memory",  # the same on Windows
    "out of memory",  # CUDA
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
)
_SHOWN_MEMORY = 200
"""Characters of an out-of-memory error that a message contains."""


@contextmanager
def explained(path: Path, hint: str = "", errors: Errors = (), *, note: str = "") -> Iterator[None]:
    """Raise the block's OSError, or one of `errors`, as a BenchError "PATH cannot be written".

    Args:
        path: the file or folder that the block writes.
        hint: another way out than to remove the cause, such as "choose another folder with --out".
        errors: exceptions besides OSError by which the code in the block reports a failed write.
        note: the end of the message, such as what is kept.

    Raises:
        BenchError: the message contains the path, the cause, the advice for it, and the hint.
    """
    expected: Errors = (OSError, *errors)
    try:
        yield
    except expected as error:
        remedy = ", or ".join(filter(None, [advice(error), hint]))
        ends = "; ".join(filter(None, [remedy, note]))
        message = f"{path} cannot be written ({cause(error, path)})"
        raise BenchError(f"{message}; {ends}" if ends else message) from error


@contextmanager
def explained_reading(path: Path, title: str = "", errors: Errors = ()) -> Iterator[None]:
    """Raise the block's OSError, or one of `errors`, as the DataError of `unreadable`.

    Args:
        path: the file or folder that the block reads.
        title: name of the data set, for the start of the message.
        errors: exceptions besides OSError by which the code in the block reports a failed read.
    """
    expected: Errors = (OSError, *errors)
    try:
        yield
    except expected as error:
        raise unreadable(path, error, title) from error


def file_bytes(path: Path, title: str = "") -> int:
    """Return the size of a regular file; a pipe, for example, could block a reader.

    Args:
        path: the file.
        title: the setting that names it, for messages; empty for a file below a folder of data.

    Raises:
        DataError: the file is missing, cannot be read, or is not a regular file.
    """
    try:  # it runs for every file of a data set, where a context manager takes twice as long
        found = os.stat(path)
    except OSError as error:
        raise unreadable(path, error, title) from error
    if not stat.S_ISREG(found.st_mode):
        start, remedy = (f"{title}: ", "name another one") if title else ("", "move it away")
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "not a file")
        raise DataError(f"{start}{path} is {kind}, but a regular file is expected; {remedy}")
    return found.st_size


def unreadable(path: Path, error: Exception, title: str = "") -> DataError:
    """Return the error "PATH cannot be read (CAUSE); ADVICE", or "PATH: no such file".

    The path is the one that the system names, if it names one.
    """
    named = getattr(error, "filename", None)
    shown = Path(_text(named)) if isinstance(named, str | bytes) else path
    start = f"{title}: " if title else ""
    if error_number(error) == errno.ENOENT:
        return DataError(f"{start}{shown}: no such file")
    ends = advice(error) or "check the file"
    return DataError(f"{start}{shown} cannot be read ({cause(error, shown)}); {ends}")


def unusable(error: OSError) -> BenchError:
    """Return the error for a file that is read or written without one of the managers above."""
    path = Path(_text(error.filename))
    message = f"{path} cannot be used ({cause(error, path)})"
    return BenchError("; ".join(filter(None, [message, advice(error)])))


def advice(error: Exception) -> str:
    """Return what to do about an error of the system; empty if its number is not known."""
    return _ADVICE.get(errno.errorcode.get(error_number(error) or 0, ""), "")


def cause(error: Exception, path: Path) -> str:
    """Return the reason of an error in words, and the file it names unless that is `path`."""
    if not isinstance(error, OSError) or error.strerror is None:
        return " ".join(str(error).split()) or type(error).__name__
    named = error.filename if error.filename2 is None else error.filename2
    words = str(error.strerror)
    return words if named is None or _text(named) == str(path) else f"{words}: {_text(named)}"


def error_number(error: Exception) -> int | None:
    """Return the error number of the system: the error's own, or the one in its text."""
    number = getattr(error, "errno", None)
    if isinstance(number, int):
        return number
    found = _NUMBER_IN_TEXT.search(str(error))
    return int(found[1]) if found else None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether Python, PyTorch or a library of a GPU was refused memory."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_MEMORY)


def out_of_memory(error: BaseException) -> str:
    """Return an out-of-memory error in one line, with what to do."""
    words = shorten(str(error), _SHOWN_MEMORY, placeholder=" ...") or type(error).__name__
    return (
        f"out of memory ({words}); end other programs that use the memory and run the same command "
        "again, or set smaller batches (--set batch=N) or images"
    )


def _text(name: str | bytes | int | Path) -> str:
    return name.decode(errors="backslashreplace") if isinstance(name, bytes) else str(name)
