"""A results folder as two frames, one of cells and one of rows, for statistics and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ttt_bench.errors import DamagedError
from ttt_bench.results import schema
from ttt_bench.results.compacted.dataset import read_dataset
from ttt_bench.results.compacted.manifests import manifests_of
from ttt_bench.results.compacted.parts import Part
from ttt_bench.results.compacted.scan import CELLS
from ttt_bench.results.records import MANIFEST, REMEDY
from ttt_bench.results.rows import categories_frame
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
    found = read_dataset(Path(results), MEASURED)
    manifests = manifests_of(found.part.cells)
    problems = [*map(str, found.problems)]
    complete: list[bool] = []
    for name, manifest in zip(found.part.column("name"), manifests, strict=True):
        missing = [key for key in (*IDENTITY, "state") if key not in manifest]
        complete.append(not missing)
        if missing:
            path = Path(results) / CELLS / name / MANIFEST
            problems.append(str(DamagedError(path, f"no {', '.join(missing)}", REMEDY)))
    part = found.part.kept(np.array(complete, dtype=np.bool_))
    if problems and not len(part.cells):
        raise_problems(problems)
    usable = [manifest for manifest, whole in zip(manifests, complete, strict=True) if whole]
    cells = _cells(Path(results), part, usable)
    return Loaded(cells, _rows(cells, part), tuple(problems))


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with the values of its categories in place of categories."""
    texts = frame.select_dtypes("category")
    return frame.assign(**{str(n): c.astype(c.cat.categories.dtype) for n, c in texts.items()})


def _cells(results: Path, part: Part, manifests: Sequence[dict[str, Any]]) -> pd.DataFrame:
    records = [
        _record(results / CELLS / name, manifest)
        for name, manifest in zip(part.column("name"), manifests, strict=True)
    ]
    cells = pd.DataFrame(records, columns=list(CELL_COLUMNS))
    finished = pd.Series(part.column("finished"), index=cells.index, dtype=object)
    return cells.assign(
        finished=pd.to_datetime(finished, utc=True, errors="coerce", format="ISO8601")
    )


def _rows(cells: pd.DataFrame, part: Part) -> pd.DataFrame:
    """Return the rows of all cells; a cell's manifest gives the columns that identify it."""
    assert part.rows is not None
    if not part.rows.num_rows:
        return pd.DataFrame(columns=[*schema.ROW_COLUMNS, "folder"])
    named = cells[[*IDENTITY, "folder"]]
    texts = named.select_dtypes(exclude="number")
    named = named.astype(dict.fromkeys(texts, "category"))
    repeated = named.loc[named.index.repeat(part.counts)].reset_index(drop=True)
    rows = pd.concat([repeated, categories_frame(part.rows)], axis=1)
    return rows[[*schema.ROW_COLUMNS, "folder"]]


def _record(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: manifest[name] for name in (*IDENTITY, "state")},
        "comparison": _comparison(manifest),
        "reason": manifest.get("reason") or "",
        "config": folder.name.removeprefix(f"{manifest['method']}-"),
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
