"""Where results land: plain tables in Parquet beside JSON manifests, written atomically. The schema
is stated here.

A results folder holds one folder a cell, `cells/<pair>/<method>-<hash>/` (`+` stands for the colon
of the pair):

    manifest.json       state, reason, the complete configuration and provenance rows.parquet
    one tidy row a number (`ROW_COLUMNS`) statistics.parquet  per-image sufficient statistics
    (`STATISTICS_COLUMNS`) totals.parquet      counts and sums over all images (`TOTALS_COLUMNS`)
    losses.parquet      the method's losses (`LOSS_COLUMNS`) examples.npz        embedded domains
    only: a few images with truth and predictions attempts.json       what changes from run to run:
    `finished`, and of every attempt its times, host and state

A cell without numbers (`diverged`, `failed`, `not_applicable`) has its manifest alone, with the
reason. Rows and statistics of two runs of one configuration are equal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.errors import BenchError
from ttt_bench.util.atomic import atomic_folder, require_writable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA_VERSION = 2
"""What is written. 2 added the metrics beside each task's primary one, the column `class` and
the totals.
"""
READABLE_VERSIONS = (1, SCHEMA_VERSION)

ROW_COLUMNS = {
    "pair": "source:target, the target with its shifts",
    "method": "the method's name",
    "control": "'none', or the control under which the method ran",
    "hparams": "which settings the method used: paper or original",
    "settings": "what was set beside preset and hparams, 'key=value' joined by '; '; empty where nothing was",
    "preset": "smoke, quick or paper",
    "protocol": "online, episodic or single-batch",
    "data_variant": "corrected or official",
    "seed": "seed of source training and adaptation",
    "steps": "adaptation steps of the cell",
    "step": "adaptation step, 0 (before adapting) to `steps`",
    "task": "semseg, depth, normals or edge",
    "metric": "a metric of the task (`tasks.METRICS`)",
    "class": "the semantic class that the score is of, empty where it is of all",
    "value": "the score, finite",
    "n": "number of images scored",
    "config": "hash of the cell's configuration",
    "schema_version": "version of this table",
}
"""Columns of `rows.parquet`: name -> meaning."""

STATISTICS_COLUMNS = {
    "step": "adaptation step",
    "batch": "number of the evaluation batch",
    "image": "position in the target's stream; in file order the index of the image",
    "task": "the task",
    "values": "float64 list. semseg: the K x K confusion counts, truth by row, flattened; depth and edge: n, sum p, "
    "sum t, sum p^2, sum t^2, sum p t over valid pixels (p after the scoring transform of the target); normals: n, "
    "sum of angles in degrees",
}
"""Columns of `statistics.parquet`: name -> meaning."""

TOTALS_COLUMNS = {
    "step": "adaptation step",
    "task": "depth, normals, or edge where its targets are 0 or 1",
    "values": "float64 list, over all images. depth: pixels with a target above 0, their sum of abs(p - t) / t and how "
    "many have max(p / t, t / p) < 1.25, in metres, p after the alignment of its evaluation batch; normals: pixels "
    "with an angle in each bin of 1/16 degree, 0 to 180; edge: of each level 0 to 99 (thresholds 0.01 to 0.99 "
    "reached), predicted pixels without a true edge near them, those with one, and true edge pixels by the highest "
    "level near them",
}
"""Columns of `totals.parquet`: name -> meaning."""

LOSS_COLUMNS = {
    "batch": "number of the batch adapted on",
    "step": "updates made before this loss was computed",
    "term": "the loss's name",
    "value": "its value",
}
"""Columns of `losses.parquet`: name -> meaning."""

STATES = ("done", "diverged", "failed", "not_applicable")
"""How a cell can end; the last three come with a reason."""


@dataclass(frozen=True)
class CellFiles:
    """What is written for one cell."""

    manifest: dict[str, Any]
    attempts: dict[str, Any]
    rows: pd.DataFrame | None = None
    statistics: pd.DataFrame | None = None
    losses: pd.DataFrame | None = None
    examples: Mapping[str, np.ndarray] | None = None
    totals: pd.DataFrame | None = None


def cell_folder(root: Path, pair: str, method: str, config_hash: str) -> Path:
    """The folder of a cell below a results folder."""
    return root / "cells" / pair.replace(":", "+") / f"{method}-{config_hash}"


def check_writable(root: Path) -> None:
    """Make the results folder and prove that it can be written, before anything is computed.

    Raises:
        BenchError: it cannot.
    """
    require_writable(root, "choose another results folder with --results")


def write_cell(folder: Path, files: CellFiles) -> None:
    """Write a cell's folder in one rename, in place of what was there.

    Raises:
        BenchError: the disk is full or the folder cannot be written; what was there stays.
    """
    import numpy as np
    from pyarrow import ArrowException

    hint = "free some space or choose another folder with --results"
    with atomic_folder(folder, hint, (ArrowException,)) as temporary:
        _write_json(temporary / "manifest.json", files.manifest)
        _write_json(temporary / "attempts.json", files.attempts)
        for name in ("rows", "statistics", "totals", "losses"):
            table = getattr(files, name)
            if table is not None:
                table.to_parquet(temporary / f"{name}.parquet", index=False, compression="zstd")
        if files.examples is not None:
            np.savez_compressed(
                temporary / "examples.npz", allow_pickle=False, **dict(files.examples)
            )


def read_attempts(folder: Path) -> list[dict[str, Any]]:
    """How a cell was tried before; empty where it was not."""
    path = folder / "attempts.json"
    return json.loads(path.read_text(encoding="utf-8"))["attempts"] if path.is_file() else []


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """A cell's manifest; None where the cell has not been written."""
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise BenchError(
            f"{path}: damaged ({error}); delete the folder {folder} and run again"
        ) from error


def cells(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every cell of a results folder: (folder, manifest), in order of path.

    Raises:
        BenchError: there is no such folder, or it holds no cell.
    """
    root = Path(root)
    if not root.is_dir():
        raise BenchError(
            f"results folder {root}: no such folder; `ttt-bench run --results {root}` makes one"
        )
    found = sorted((root / "cells").glob("*/*/manifest.json"))
    if not found:
        raise BenchError(
            f"results folder {root} holds no results; `ttt-bench run --results {root}` makes some"
        )
    for path in found:
        if path.parent.name.startswith("."):
            continue
        manifest = read_manifest(path.parent)
        assert manifest is not None
        version = manifest.get("schema_version")
        if version not in READABLE_VERSIONS:
            known = " and ".join(map(str, READABLE_VERSIONS))
            raise BenchError(
                f"{path}: schema version {version}; this version of ttt-bench reads {known}"
            )
        yield path.parent, manifest


def read_results(path: str | Path) -> pd.DataFrame:
    """Every row of a results folder, with the columns of `ROW_COLUMNS`.

    Raises:
        BenchError: no such folder, no results in it, or a damaged file (named).
    """
    import pandas as pd

    tables = [
        read_table(folder, "rows")
        for folder, manifest in cells(Path(path))
        if manifest["state"] == "done"
    ]
    if not tables:
        return pd.DataFrame(columns=list(ROW_COLUMNS))
    return pd.concat(tables, ignore_index=True)


def read_table(folder: Path, name: str, step: int | None = None) -> pd.DataFrame:
    """One of a cell's tables: rows, statistics, totals (from schema version 2 on) or losses.

    Args:
        step: only the rows of this adaptation step.

    Raises:
        BenchError: it is missing or damaged.
    """
    import pandas as pd
    from pyarrow import ArrowException

    path = folder / f"{name}.parquet"
    try:
        table = pd.read_parquet(path, filters=None if step is None else [("step", "==", step)])
    except (OSError, ValueError, ArrowException) as error:
        raise BenchError(
            f"{path}: missing or damaged ({error}); delete the folder {folder} and run again"
        ) from error
    if (
        name == "rows" and "class" not in table
    ):  # schema version 1, whose metrics were of all classes
        table.insert(list(ROW_COLUMNS).index("class"), "class", "")
    return table


def read_examples(folder: Path) -> dict[str, np.ndarray]:
    """A cell's example images; empty where none were stored.

    Keys: `indices` (n,), `image` (n, H, W, 3) uint8, and per task `truth_<task>` and
    `prediction_<task>`, with semseg (n, H, W) uint8 class or 255, depth and edge (n, H, W) float16,
    normals (n, 3, H, W) float16 (unit vectors; 255 where a truth is missing). Predictions are those
    of the last step, after the scoring transform.
    """
    import numpy as np

    path = folder / "examples.npz"
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as data:
        return {key: data[key] for key in data.files}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
