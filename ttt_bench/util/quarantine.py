"""Set damaged files aside: they are kept for inspection, and no command reads them again."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from ttt_bench.errors import DamagedError
from ttt_bench.util.os_errors import explained
from ttt_bench.util.store import mirror

FOLDER = "quarantine"


def set_aside(path: Path, root: Path) -> Path:
    """Move a file or folder below `root` to the same place below `root/quarantine`.

    Returns:
        the new path, which has a number if the name is in use.

    Raises:
        BenchError: it cannot be moved.
    """
    wanted = root / FOLDER / path.relative_to(root)
    names = (wanted if n == 0 else wanted.with_name(f"{wanted.name}.{n}") for n in count())
    target = next(name for name in names if not name.exists())
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    mirror.moved(path, target)
    return target


def set_damaged_aside(error: DamagedError, root: Path, unit: Path | None = None) -> str:
    """Move a damaged file to the quarantine, and return a message that names it and its new path.

    Args:
        error: names the file.
        root: the folder with the quarantine.
        unit: the folder that is moved; None for the file alone.

    Raises:
        BenchError: it cannot be moved.
    """
    kept = set_aside(error.path if unit is None else unit, root)
    return f"{error}. {'It' if unit is None else 'Its folder'} is now {kept}"
