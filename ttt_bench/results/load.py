"""A results folder as two frames, one of cells and one of rows, for statistics and the report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ttt_bench.errors import BenchError
from ttt_bench.results import schema, store

IDENTITY = (
    "pair",
    "method",
    "control",
    "hparams",
    "settings",
    "preset",
    "protocol",
    "data_variant",
    "seed",
    "steps",
)
"""The columns that identify a cell, in manifests and in rows."""

CELL_COLUMNS = (
    *IDENTITY,
    "comparison",
    "state",
    "reason",
    "config",
    "finished",
    "folder",
    "manifest",
)


@dataclass(frozen=True)
class Loaded:
    """A results folder in memory.

    Attributes:
        cells: one row per cell with `CELL_COLUMNS`. `comparison` is a hash of everything that cells
            must share to be compared, and may be empty; `finished` is a UTC time or NaT; `manifest`
            is the whole dict.
        rows: the stored rows of all done cells (`schema.ROW_COLUMNS`) and the `folder` of their
            cell.
    """

    cells: pd.DataFrame
    rows: pd.DataFrame


def load(results: Path) -> Loaded:
    """Read the cells of a results folder and the rows of those that are done.

    Raises:
        BenchError: the folder does not exist or has no results, or a file is damaged.
    """
    records, tables = [], []
    for folder, manifest in store.cells(Path(results)):
        records.append(_record(folder, manifest))
        if manifest["state"] == "done":
            tables.append(store.read_table(folder, "rows").assign(folder=str(folder)))
    columns = [*schema.ROW_COLUMNS, "folder"]
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    cells = pd.DataFrame(records, columns=list(CELL_COLUMNS))
    cells["finished"] = pd.to_datetime(
        cells["finished"], utc=True, errors="coerce", format="ISO8601"
    )
    return Loaded(cells, rows)


def _record(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in (*IDENTITY, "state") if name not in manifest]
    if missing:
        path = folder / "manifest.json"
        raise BenchError(
            f"{path} has no {', '.join(missing)}; delete the folder {folder} and run again"
        )
    return {
        **{name: manifest[name] for name in (*IDENTITY, "state")},
        "comparison": manifest.get("comparison") or "",
        "reason": manifest.get("reason") or "",
        "config": folder.name.removeprefix(f"{manifest['method']}-"),
        "finished": _finished(folder),
        "folder": str(folder),
        "manifest": manifest,
    }


def _finished(folder: Path) -> str | None:
    try:
        return json.loads((folder / "attempts.json").read_text(encoding="utf-8")).get("finished")
    except (OSError, json.JSONDecodeError):
        # times only decide between two cells of one name; numbers do not depend on them
        return None
