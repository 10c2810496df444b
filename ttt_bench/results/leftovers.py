"""Remove what killed runs leave in a results folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ttt_bench.errors import BenchError
from ttt_bench.results.checkpoints.diverged import SUFFIX as DIVERGED
from ttt_bench.results.compacted.scan import COMPACTED
from ttt_bench.util.atomic import remove_leftovers
from ttt_bench.util.claims import CLAIMS, Claims
from ttt_bench.util.store import mirror

PARTIAL = ".partial.safetensors"
"""End of the name of a file with unfinished work."""
SHARD = ".shard-"
"""Beginning of a shard's part of the name of its file."""


def clean(results: Path, checkpoints: Path) -> None:
    """Remove temporary content of ended processes, and unfinished work that was finished since.

    Nothing depends on it, so files that cannot be removed stay.
    """
    pairs = [path for path in (results / "cells").glob("*") if path.is_dir()]
    claims = [folder / CLAIMS for folder in (results, checkpoints)]
    for folder in (*pairs, checkpoints, results / COMPACTED, *claims):
        with suppress(OSError, BenchError):
            remove_leftovers(folder)
            for path in _finished(folder):
                mirror.remove(path)
    for folder in claims:
        with suppress(OSError, BenchError):
            Claims(folder).remove_ended()


def _finished(folder: Path) -> Iterator[Path]:
    """Yield the files of unfinished work next to the finished one."""
    yield from (path for path in folder.glob(f"*{PARTIAL}") if is_finished(path))


def is_finished(partial: Path) -> bool:
    """Return whether the work of a file of unfinished work was finished since."""
    name = partial.name.removesuffix(PARTIAL).removeprefix(".").partition(SHARD)[0]
    done = (f"{name}.safetensors", f"{name}{DIVERGED}", f"{name}/rows.parquet")
    return any((partial.parent / one).exists() for one in done)
