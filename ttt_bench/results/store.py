"""Write and read the cells of a results folder; `schema` describes the files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.results import schema
from ttt_bench.results.compacted.scan import CELLS as CELLS
from ttt_bench.results.compacted.scan import TABLES as TABLES
from ttt_bench.results.compacted.scan import cell_stamps
from ttt_bench.results.integrity import (
    EXAMPLES,
    damages,
    digests,
    read_arrays,
    read_parquet,
)
from ttt_bench.results.records import (
    ATTEMPTS,
    MANIFEST,
    MISPLACED,
    REMEDY,
    Attempts,
    is_file,
    read_manifest,
)
from ttt_bench.util.atomic import atomic_folder, require_writable
from ttt_bench.util.os_errors import explained_reading
from ttt_bench.util.store import mirror
from ttt_bench.util.store.address import results_path
from ttt_bench.util.stored import sealed
from ttt_bench.util.text import listed, short_name

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MEASURED = ("value", "values")
"""Columns of measured numbers, which rarely repeat: dictionaries make them larger."""
ENCODINGS = {"totals": {"values.list.element": "BYTE_STREAM_SPLIT"}}
"""Table -> encoding of columns, which makes files of large counts smaller."""


@dataclass(frozen=True, kw_only=True)
class CellFiles:
    """The content of one cell's folder; what is None is not written."""

    manifest: dict[str, Any]
    attempts: dict[str, Any]
    rows: pd.DataFrame | None = None
    statistics: pd.DataFrame | None = None
    source: pd.DataFrame | None = None
    totals: pd.DataFrame | None = None
    signals: pd.DataFrame | None = None
    losses: pd.DataFrame | None = None
    examples: Mapping[str, np.ndarray] | None = None


def cell_folder(root: Path, pair: str, method: str, config_hash: str) -> Path:
    """Return the folder of a cell in a results folder."""
    return root / CELLS / cell_path(pair, method, config_hash)


def cell_path(pair: str, method: str, config_hash: str) -> str:
    """Return the path of a cell's folder in the folder of cells."""
    return f"{_pair_folder(pair)}/{short_name(method)}-{config_hash}"


def _pair_folder(pair: str) -> str:
    return short_name(pair.replace(":", "+"))


def written_at(folder: Path) -> int | None:
    """Return when a cell was last written, in nanoseconds of the file system's clock, or None."""
    try:
        return (folder / MANIFEST).stat().st_mtime_ns
    except OSError:
        return None


def check_writable(root: Path) -> None:
    """Create the results folder and its parts, and check that they can be written.

    Raises:
        BenchError: it cannot be written.
    """
    checkpoints = root / "checkpoints"
    for folder in (root, root / CELLS, *([checkpoints] if checkpoints.exists() else [])):
        require_writable(folder, "choose another results folder with --results")
    mirror.require_claims(root)


def write_cell(folder: Path, files: CellFiles) -> None:
    """Write a cell's folder; a reader finds the previous content or the new one.

    A new folder appears in one rename. In an existing folder the files that differ are replaced one
    by one, the manifest last, so two writers of equal content do not disturb each other.

    Raises:
        BenchError: the disk is full or the folder cannot be written; the previous one stays.
    """
    from pyarrow import ArrowException

    hint = "choose another folder with --results"
    with atomic_folder(folder, hint, (ArrowException,), commit=MANIFEST) as temporary:
        for name in TABLES:
            table = getattr(files, name)
            if table is not None:
                write_table(temporary / f"{name}.parquet", table, ENCODINGS.get(name))
        if files.examples is not None:
            _write_examples(temporary / EXAMPLES, files.examples)
        content = digests(temporary, sorted(path.name for path in temporary.iterdir()))
        sealed.put(temporary / ATTEMPTS, files.attempts)
        sealed.put(temporary / MANIFEST, {**files.manifest, "files": content})
    mirror.publish(folder)


def write_table(path: Path, table: pd.DataFrame, encodings: dict[str, str] | None = None) -> None:
    """Write a table as Parquet with checksums of its pages."""
    from pyarrow import Array, OSFile
    from pyarrow import table as arrow_table
    from pyarrow.parquet import write_table as write_parquet

    # half the time of DataFrame.to_parquet, whose description of the frame nothing reads
    columns = {str(name): Array.from_pandas(table[name]) for name in table}
    with OSFile(str(path), "wb") as file:
        write_parquet(
            arrow_table(columns),
            file,
            compression="zstd",
            compression_level=9,
            use_dictionary=[name for name in columns if name not in MEASURED],
            column_encoding=encodings,
            write_page_checksum=True,
        )


def update_manifest(folder: Path, changes: Mapping[str, Any]) -> None:
    """Replace entries of a cell's manifest.

    Raises:
        BenchError: the manifest is damaged or cannot be written.
    """
    sealed.write(folder / MANIFEST, {**read_manifest(folder), **changes})


def read_attempts(folder: Path) -> dict[str, Any]:
    """Return `finished` and the earlier `attempts` at a cell, the oldest first; empty without any.

    Raises:
        DamagedError: the file is damaged. It holds only history, so no number depends on it.
        DataError: the file cannot be read.
    """
    path = folder / ATTEMPTS
    if not os.path.lexists(path):
        return {"attempts": []}
    if not is_file(path):
        raise DamagedError(path, "it is not a file", REMEDY)
    # earlier versions wrote no digest; an entry that is not known is damage
    found = sealed.read(path, Attempts, REMEDY, must_have_digest=lambda record: False)
    return {"attempts": [], **found}


def read_cell(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a cell whose files are all whole; None if the cell is not written.

    Raises:
        DamagedError: a file of the cell is damaged or missing.
        DataError: a file cannot be read.
    """
    if not _has_files(folder):
        return None
    manifest = read_placed(folder)
    for damage in damages(folder, manifest):
        raise damage
    return manifest


def read_placed(folder: Path) -> dict[str, Any]:
    """Return the manifest of a cell, checked against the names of its folders.

    Raises:
        DamagedError: it is missing, damaged, or belongs to another folder.
        DataError: it cannot be read.
    """
    manifest = read_manifest(folder)
    pair = manifest.get("pair", "")
    if pair and folder.parent.name != _pair_folder(pair):
        raise DamagedError(folder / MANIFEST, f"it belongs to the pair {pair}", MISPLACED)
    return manifest


def cells(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield (folder, manifest) of every cell of a results folder, in order of path.

    Raises:
        BenchError: the folder does not exist or has no cell, or a file is damaged or of an unknown
            schema version.
    """
    found, problems = whole_cells(root)
    for problem in problems:
        raise problem
    yield from found


def whole_cells(
    root: Path,
) -> tuple[list[tuple[Path, dict[str, Any]]], list[DamagedError]]:
    """Return (folder, manifest) of the cells of a results folder, and the damaged files.

    A cell with a damaged file is left out, unless only its example images are damaged.

    Raises:
        BenchError: the folder does not exist or has no cell, a file cannot be read, or a manifest
            has an unknown schema version.
    """
    found: list[tuple[Path, dict[str, Any]]] = []
    problems: list[DamagedError] = []
    for name in cell_stamps(Path(root)):
        folder = Path(root) / CELLS / name
        manifest, damaged = inspected(folder)
        problems += damaged
        if manifest is not None:
            found.append((folder, manifest))
    return found, problems


def inspected(folder: Path) -> tuple[dict[str, Any] | None, list[DamagedError]]:
    """Return the manifest of a cell that can be used, and the damaged files.

    The manifest is None if any file but the example images is damaged.
    """
    try:
        manifest = read_placed(folder)
    except DamagedError as error:
        return None, [error]
    _check_version(folder / MANIFEST, manifest["schema_version"])
    damaged = damages(folder, manifest)
    usable = all(damage.path.name == EXAMPLES for damage in damaged)
    return (manifest if usable else None), damaged


def _has_files(folder: Path) -> bool:
    """Return whether a folder exists and contains a file of a cell."""
    with explained_reading(folder):
        if not folder.is_dir():
            return False
        names = {path.name for path in folder.iterdir()}
    return not names.isdisjoint({MANIFEST, ATTEMPTS, *(f"{name}.parquet" for name in TABLES)})


def _check_version(path: Path, version: int) -> None:
    if version not in schema.READABLE_VERSIONS:
        known = listed([str(version) for version in schema.READABLE_VERSIONS])
        raise BenchError(
            f"{path} has schema version {version}, but this version of ttt-bench reads {known}; "
            "use the version that wrote it, or another results folder"
        )


def read_results(path: str | Path) -> pd.DataFrame:
    """Return every row of a results folder, with the columns `schema.ROW_COLUMNS`.

    Raises:
        BenchError: the folder does not exist or has no results, or a file is damaged.
    """
    from ttt_bench.results.compacted.dataset import read_dataset
    from ttt_bench.results.rows import plain_frame

    root = results_path(path)
    mirror.fetch(root)
    found = read_dataset(root)
    for problem in found.problems:
        raise problem
    return plain_frame(found.part.rows)


def read_table(folder: Path, name: str, step: int | None = None) -> pd.DataFrame:
    """Return one of a cell's tables.

    Args:
        folder: the cell's folder.
        name: rows, statistics, source (from schema version 3 on, for methods with their own source
            model), totals (from version 2 on), signals (from version 3 on) or losses.
        step: only the rows of this adaptation step; None for all.

    Raises:
        DamagedError: the file is missing or damaged.
        DataError: the file cannot be read.
    """
    filters = None if step is None else [("step", "==", step)]
    table = read_parquet(folder / f"{name}.parquet", filters=filters)
    if name == "rows" and "class" not in table:
        # schema version 1 has metrics of all classes only
        table.insert(list(schema.ROW_COLUMNS).index("class"), "class", "")
    return table


def read_examples(folder: Path) -> dict[str, np.ndarray]:
    """Return a cell's example images; empty if none were stored.

    Keys: `indices` (n,), `image` (n, H, W, 3) uint8, and per task `truth_<task>` and
    `prediction_<task>_<step>`, with semseg and human_parts (n, H, W) uint8 class or 255, depth,
    edge and saliency (n, H, W) float16, normals (n, 3, H, W) float16 (unit vectors). 255 marks
    missing truth. Predictions are those of steps 0, 1, 5 and the last one, after the scoring
    transform; a step without own predictions has those of the step before it.

    Raises:
        DamagedError: the file is damaged.
        DataError: the file cannot be read.
    """
    path = folder / EXAMPLES
    return read_arrays(path) if is_file(path) else {}


def _write_examples(path: Path, examples: Mapping[str, np.ndarray]) -> None:
    """Write arrays so that equal ones give equal bytes, whatever their order in memory."""
    import numpy as np

    arrays: dict[str, Any] = {
        name: np.ascontiguousarray(examples[name]) for name in sorted(examples)
    }
    np.savez_compressed(path, **arrays)
