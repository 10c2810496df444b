"""A results folder as two frames, one of cells and one of rows, for statistics and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.results import schema, store
from ttt_bench.results.records import MANIFEST, REMEDY
from ttt_bench.results.rows import joined_categories, read_rows
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

MEASURED = tuple(name for name in schema.ROW_COLUMNS if name not in IDENTITY)
"""The columns of rows that do not identify a cell."""

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
            cell. Text is stored as categories (see `plain`).
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
            done = manifest["state"] == "done"
            tables.append(read_rows(folder, manifest, MEASURED) if done else None)
            records.append(record)
        except DamagedError as error:
            problems.append(str(error))
    if problems and not records:
        raise_problems(problems)
    cells = pd.DataFrame(records, columns=list(CELL_COLUMNS))
    cells["finished"] = pd.to_datetime(
        cells["finished"], utc=True, errors="coerce", format="ISO8601"
    )
    return Loaded(cells, _rows(cells, tables), tuple(problems))


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the values of its categories in place of categories."""
    texts = frame.select_dtypes("category")
    return frame.assign(**{str(n): c.astype(c.cat.categories.dtype) for n, c in texts.items()})


def _rows(cells: pd.DataFrame, tables: Sequence[pa.Table | None]) -> pd.DataFrame:
    """Return the rows of all cells; a cell's manifest gives the columns that identify it."""
    kept = [table for table in tables if table is not None]
    if not kept:
        return pd.DataFrame(columns=[*schema.ROW_COLUMNS, "folder"])
    counts = [0 if table is None else table.num_rows for table in tables]
    named = cells[[*IDENTITY, "folder"]]
    texts = named.select_dtypes(exclude="number")
    named = named.astype(dict.fromkeys(texts, "category"))
    repeated = named.loc[named.index.repeat(counts)].reset_index(drop=True)
    rows = pd.concat([repeated, joined_categories(kept)], axis=1)
    return rows[[*schema.ROW_COLUMNS, "folder"]]


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
