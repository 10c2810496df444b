"""Read cells from their own files into a part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ttt_bench.errors import BenchError, DamagedError
from ttt_bench.results import store
from ttt_bench.results.compacted.manifests import columns_of
from ttt_bench.results.compacted.parts import Part, encoded
from ttt_bench.results.compacted.scan import CELLS, Stamp
from ttt_bench.results.rows import empty_rows, read_rows

TIMED = "timed"
"""The entry of an attempt at a cell that holds how long it took."""


def read_part(
    root: Path, stamps: Mapping[str, Stamp], columns: tuple[str, ...]
) -> tuple[Part, list[DamagedError]]:
    """Return cells whose files are whole, and the damaged files.

    A cell with a damaged file is left out, unless only its example images are damaged: then its
    stamp is empty.

    Args:
        root: the results folder.
        stamps: the cells, by name.
        columns: columns of the rows.

    Raises:
        BenchError: a file cannot be read, or a manifest has an unknown schema version.
    """
    records: list[dict[str, Any]] = []
    manifests: list[dict[str, Any]] = []
    tables: list[pa.Table] = [empty_rows(columns)]
    problems: list[DamagedError] = []
    for name, stamp in stamps.items():
        folder = root / CELLS / name
        manifest, damaged = store.inspected(folder)
        problems += damaged
        if manifest is None:
            continue
        try:
            done = manifest["state"] == "done"
            rows = read_rows(folder, manifest, columns) if done else tables[0]
        except DamagedError as error:
            problems.append(error)
            continue
        records.append(_record(name, "" if damaged else stamp.text, manifest, folder, len(rows)))
        manifests.append(manifest)
        tables.append(rows)
    cells = pa.table({**_columns(records), **columns_of(manifests)})
    return Part(cells=cells, rows=encoded(pa.concat_tables(tables))), problems


def _record(
    name: str, stamp: str, manifest: Mapping[str, Any], folder: Path, rows: int
) -> dict[str, Any]:
    attempts = _attempts(folder)
    last = attempts["attempts"][-1:]
    timed = last[0].get(TIMED) if last else None
    return {
        "name": name,
        "stamp": stamp,
        "state": manifest["state"],
        "finished": attempts.get("finished"),
        "timed": None if timed is None else json.dumps(timed),
        "rows": rows,
    }


def _attempts(folder: Path) -> dict[str, Any]:
    try:
        return store.read_attempts(folder)
    except BenchError:
        # times decide between two cells of one name, and predict; numbers do not depend on them
        return {"attempts": []}


def _columns(records: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    """Return the columns of a part's cells besides those of the manifests."""
    texts = ("name", "stamp", "state", "finished", "timed")
    found = {name: _column(records, name, pa.string()) for name in texts}
    return {**found, "rows": _column(records, "rows", pa.int64())}


def _column(records: Sequence[Mapping[str, Any]], name: str, kind: pa.DataType) -> pa.Array:
    return pa.array([record[name] for record in records], kind)
