"""Changes of written results folders, made by the store's code."""

from __future__ import annotations

from pathlib import Path

from ttt_bench.results.records import read_manifest
from ttt_bench.results.store import update_manifest


def drop_statistics(root: Path) -> None:
    """Remove the statistics of all cells of a results folder."""
    for path in list(root.rglob("statistics.parquet")):
        kept = read_manifest(path.parent)["files"]
        del kept[path.name]
        path.unlink()
        update_manifest(path.parent, {"files": kept})
