"""Write and read the cells of a results folder; `schema` describes the files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.errors import BenchError
from ttt_bench.results import schema
from ttt_bench.util.atomic import atomic_folder, require_writable
from ttt_bench.util.paths import user_path
from ttt_bench.util.text import short_name

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MANIFEST = "manifest.json"
TABLES = ("rows", "statistics", "totals", "losses")


@dataclass(frozen=True, kw_only=True)
class CellFiles:
    """The content of one cell's folder; what is None is not written."""

    manifest: dict[str, Any]
    attempts: dict[str, Any]
    rows: pd.DataFrame | None = None
    statistics: pd.DataFrame | None = None
    totals: pd.DataFrame | None = None
    losses: pd.DataFrame | None = None
    examples: Mapping[str, np.ndarray] | None = None


def cell_folder(root: Path, pair: str, method: str, config_hash: str) -> Path:
    """Return the folder of a cell in a results folder."""
    pair_name = short_name(pair.replace(":", "+"))
    return root / "cells" / pair_name / f"{short_name(method)}-{config_hash}"


def check_writable(root: Path) -> None:
    """Create the results folder and check that it can be written, before anything is computed.

    Raises:
        BenchError: it cannot be written.
    """
    require_writable(root, "choose another results folder with --results")


def write_cell(folder: Path, files: CellFiles) -> None:
    """Write a cell's folder; a reader finds the previous content or the new one.

    A new folder appears in one rename. In an existing folder the files that differ are replaced one
    by one, the manifest last, so two writers of equal content do not disturb each other.

    Raises:
        BenchError: the disk is full or the folder cannot be written; the previous one stays.
    """
    import numpy as np
    from pyarrow import ArrowException

    hint = "choose another folder with --results"
    with atomic_folder(folder, hint, (ArrowException,), commit=MANIFEST) as temporary:
        _write_json(temporary / "manifest.json", files.manifest)
        _write_json(temporary / "attempts.json", files.attempts)
        for name in TABLES:
            table = getattr(files, name)
            if table is not None:
                table.to_parquet(temporary / f"{name}.parquet", index=False, compression="zstd")
        if files.examples is not None:
            np.savez_compressed(
                temporary / "examples.npz", allow_pickle=False, **dict(files.examples)
            )


def read_attempts(folder: Path) -> list[dict[str, Any]]:
    """Return the earlier attempts at a cell, the oldest first."""
    path = folder / "attempts.json"
    return json.loads(path.read_text(encoding="utf-8"))["attempts"] if path.is_file() else []


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return a cell's manifest; None if the cell has not been written.

    Raises:
        BenchError: the manifest is damaged.
    """
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
    """Yield (folder, manifest) of every cell of a results folder, in order of path.

    Raises:
        BenchError: the folder does not exist or has no cell, or a manifest is damaged or of an
            unknown schema version.
    """
    if not root.is_dir():
        raise BenchError(
            f"results folder {root} does not exist; `ttt-bench run --results {root}` creates it"
        )
    found = sorted((root / "cells").glob("*/*/manifest.json"))
    if not found:
        raise BenchError(
            f"results folder {root} has no results; `ttt-bench run --results {root}` computes some"
        )
    for path in found:
        if path.parent.name.startswith("."):
            continue
        manifest = read_manifest(path.parent)
        assert manifest is not None
        version = manifest.get("schema_version")
        if version not in schema.READABLE_VERSIONS:
            known = " and ".join(map(str, schema.READABLE_VERSIONS))
            raise BenchError(
                f"{path} has schema version {version}, but this version of ttt-bench reads {known}"
                "; use the version that wrote it, or another results folder"
            )
        yield path.parent, manifest


def read_results(path: str | Path) -> pd.DataFrame:
    """Return every row of a results folder, with the columns `schema.ROW_COLUMNS`.

    Raises:
        BenchError: the folder does not exist or has no results, or a file is damaged.
    """
    import pandas as pd

    tables = [
        read_table(folder, "rows")
        for folder, manifest in cells(user_path(path))
        if manifest["state"] == "done"
    ]
    if not tables:
        return pd.DataFrame(columns=list(schema.ROW_COLUMNS))
    return pd.concat(tables, ignore_index=True)


def read_table(folder: Path, name: str, step: int | None = None) -> pd.DataFrame:
    """Return one of a cell's tables.

    Args:
        folder: the cell's folder.
        name: rows, statistics, totals (from schema version 2 on) or losses.
        step: only the rows of this adaptation step; None for all.

    Raises:
        BenchError: the file is missing or damaged.
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
    if name == "rows" and "class" not in table:
        # schema version 1 has metrics of all classes only
        table.insert(list(schema.ROW_COLUMNS).index("class"), "class", "")
    return table


def read_examples(folder: Path) -> dict[str, np.ndarray]:
    """Return a cell's example images; empty if none were stored.

    Keys: `indices` (n,), `image` (n, H, W, 3) uint8, and per task `truth_<task>` and
    `prediction_<task>`, with semseg (n, H, W) uint8 class or 255, depth and edge (n, H, W) float16,
    normals (n, 3, H, W) float16 (unit vectors; 255 where the truth is missing). Predictions are
    those of the last step, after the scoring transform.
    """
    import numpy as np

    path = folder / "examples.npz"
    if not path.is_file():
        return {}
    with np.load(path, allow_pickle=False) as data:
        return {key: data[key] for key in data.files}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
