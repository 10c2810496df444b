"""Paths that a person writes: on the command line, in config files, in environment variables."""

from __future__ import annotations

import os
import re
from pathlib import Path

import platformdirs

from ttt_bench.errors import BenchError

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def user_path(text: str | os.PathLike[str]) -> Path:
    """Return the path that a person wrote; a leading `~` or `~user` is the home folder.

    A shell expands `~` at the start of a word only, so `--results=~/runs` and config files pass it
    on. A folder whose name begins with `~` is written as `./~name`.

    Raises:
        BenchError: the text is empty, contains a null character or is a URL, or the home folder
            is unknown.
    """
    written = os.fspath(text)
    if not written or "\0" in written:
        raise BenchError(f"{written!r} is not a path; give the name of a file or folder")
    if _URL.match(written):
        raise BenchError(
            f"{written} is a URL; a local path is needed here, so copy it to one first"
        )
    if written.startswith("~"):
        return _expanded(written)
    path = Path(written)
    # pathlib drops the leading "./", and pandas would then expand the name
    return path.absolute() if str(path).startswith("~") else path


def path_from_environment(variable: str) -> Path | None:
    """Return the path in an environment variable, or None if it is empty or not set.

    Raises:
        BenchError: the home folder that the path refers to is unknown.
    """
    written = os.environ.get(variable)
    return user_path(written) if written else None


def cache_folder() -> Path:
    """Return the cache folder: `TTT_BENCH_CACHE`, or the user's cache folder.

    It contains files that the harness makes again when they are missing, and copies of stores.

    Raises:
        BenchError: neither is known.
    """
    given = path_from_environment("TTT_BENCH_CACHE")
    try:
        return given or Path(platformdirs.user_cache_dir("ttt-bench"))
    except RuntimeError as error:  # HOME is not set, and the user has no entry in passwd
        raise BenchError(
            f"the user's cache folder is unknown ({error}); set TTT_BENCH_CACHE to a folder for "
            "rendered images"
        ) from error


def _expanded(written: str) -> Path:
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        raise BenchError(
            f"{written}: the home folder is unknown; write the full path, or ./{written} for a "
            "folder of that name"
        ) from error
