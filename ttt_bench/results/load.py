"""A results folder as two frames, one of cells and one of rows, for statistics and the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.results import schema, store
from ttt_bench.results.records import MANIFEST, REMEDY
from ttt_bench.util.problems import raise_problems

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
        cells: one row per cell with `CELL_COLUMNS`. `comparison` identifies everything that cells
            must share to be compared, and may be empty; `finished` is a UTC time or NaT; `manifest`
            is the whole dict.
        rows: the stored rows of all done cells (`schema.ROW_COLUMNS`) and the `folder` of their
            cell.
        problems: a line per damaged file. Its cell is left out, unless only its example images are
            damaged.
    """

    cells: pd.DataFrame
    rows: pd.DataFrame
    problems: tuple[str, ...] = ()


def load(results: Path) -> Loaded:
    """Read the cells of a results folder and the rows of those that are done.

    Raises:
        BenchError: the folder does not exist or has no whole results, or a file cannot be read.
    """
    whole, damaged = store.whole_cells(Path(results))
    problems = [str(damage) for damage in damaged]
    records, tables = [], []
    for folder, manifest in whole:
        try:
            record = _record(folder, manifest)
            if manifest["state"] == "done":
                tables.append(store.read_rows(folder, manifest).assign(folder=str(folder)))
            records.append(record)
        except DamagedError as error:
            problems.append(str(error))
    if problems and not records:
        raise_problems(problems)
    columns = [*schema.ROW_COLUMNS, "folder"]
    rows = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    cells = pd.DataFrame(records, columns=list(CELL_COLUMNS))
    cells["finished"] = pd.to_datetime(
        cells["finished"], utc=True, errors="coerce", format="ISO8601"
    )
    return Loaded(cells, rows, tuple(problems))


def _record(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    missing = [name for name in (*IDENTITY, "state") if name not in manifest]
    if missing:
        reason = f"no {', '.join(missing)}"
        raise DamagedError(folder / MANIFEST, reason, REMEDY)
    return {
        **{name: manifest[name] for name in (*IDENTITY, "state")},
        "comparison": _comparison(manifest),
        "reason": manifest.get("reason") or "",
        "config": folder.name.removeprefix(f"{manifest['method']}-"),
        "finished": _finished(folder),
        "folder": str(folder),
        "manifest": manifest,
    }


def _comparison(manifest: dict[str, Any]) -> str:
    """Return the hash of what cells must share to be compared.

    The harness's format and a dash precede it, unless the format is 1 or not stated.
    """
    found = manifest.get("comparison") or ""
    form = (manifest.get("configuration") or {}).get("evaluation", 1)
    return f"{form}-{found}" if found and form != 1 else found


def _finished(folder: Path) -> str | None:
    try:
        return store.read_attempts(folder).get("finished")
    except BenchError:
        # times only decide between two cells of one name; numbers do not depend on them
        return None
