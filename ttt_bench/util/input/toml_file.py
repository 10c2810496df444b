"""Read TOML files that a person has written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from ttt_bench.errors import BenchError
from ttt_bench.util.os_errors import explained_reading, file_bytes


def read_toml(path: Path, kind: str, option: str) -> dict[str, Any]:
    """Return the entries of a TOML file.

    Args:
        path: the file.
        kind: the noun for error messages, such as "config file".
        option: the option or argument that names the file.

    Raises:
        BenchError: the file is missing, cannot be read, or is not TOML (with the place).
    """
    try:
        # Windows editors begin a file with a byte-order mark, which utf-8-sig drops
        file_bytes(path, option)
        with explained_reading(path, option):
            return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError as error:
        raise BenchError(f"{kind} {path}: values are nested too deeply") from error
    except ValueError as error:  # also a number of thousands of digits
        raise BenchError(f"{kind} {path}: not valid TOML ({error})") from error
