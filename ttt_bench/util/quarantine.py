"""Set damaged files aside: they are kept for inspection, and no command reads them again."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from ttt_bench.util.os_errors import explained

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
    return target
