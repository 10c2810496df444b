"""Measurements of a results folder that are no cells, such as timings and affinities.

<kind>/<name>-<key>/manifest.json   what was measured, and how
<kind>/<name>-<key>/rows.parquet    the numbers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ttt_bench.errors import DamagedError
from ttt_bench.results.integrity import damages, digests, read_parquet
from ttt_bench.results.records import MANIFEST, read_manifest
from ttt_bench.results.schema import SCHEMA_VERSION
from ttt_bench.results.store import write_table
from ttt_bench.util.atomic import atomic_folder
from ttt_bench.util.quarantine import set_damaged_aside
from ttt_bench.util.store import mirror
from ttt_bench.util.stored import sealed
from ttt_bench.util.text import short_name

ROWS = "rows.parquet"
REMEDY = "the command that measured it sets it aside and measures it again"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A stored measurement.

    Attributes:
        key: a hash of everything that it depends on.
        manifest: what was measured, and how.
        rows: the numbers.
    """

    key: str
    manifest: dict[str, Any]
    rows: pd.DataFrame


def write(
    results: Path,
    kind: str,
    *,
    name: str,
    key: str,
    manifest: Mapping[str, Any],
    rows: pd.DataFrame,
    notice: Callable[[str], None],
) -> Path:
    """Store a measurement in place of one with the same name and key, and return its folder.

    A damaged one is set aside.

    Args:
        results: the results folder.
        kind: the kind, which is the name of the folder of all of them.
        name: the measurement for people.
        key: a hash of everything that it depends on.
        manifest: what was measured, and how.
        rows: the numbers.
        notice: called with a message about a damaged measurement.

    Raises:
        BenchError: the results folder cannot be written.
    """
    from pyarrow import ArrowException

    folder = _folder(results, kind, name, key)
    hint = "choose another folder with --results"
    damage = _damage(folder) if folder.is_dir() else None
    if damage is not None:
        notice(set_damaged_aside(damage, results, folder))
    whole = {**manifest, "state": "done", "schema_version": SCHEMA_VERSION, "config": key}
    with atomic_folder(folder, hint, (ArrowException,), commit=MANIFEST) as temporary:
        write_table(temporary / ROWS, rows)
        sealed.put(temporary / MANIFEST, {**whole, "files": digests(temporary, [ROWS])})
    mirror.publish(folder)
    return folder


def is_stored(results: Path, kind: str, *, name: str, key: str) -> bool:
    """Return whether a whole measurement with this name and key is stored."""
    folder = _folder(results, kind, name, key)
    return folder.is_dir() and _damage(folder) is None


def read(results: Path, kind: str) -> tuple[list[Measurement], list[str]]:
    """Return the measurements of a kind in order of their folders, and a line per damaged one."""
    found: list[Measurement] = []
    problems: list[str] = []
    for folder in sorted((results / kind).glob("[!.]*-*")):
        try:
            found.append(_read(folder))
        except DamagedError as error:
            problems.append(str(error))
    return found, problems


def check(folder: Path) -> dict[str, Any]:
    """Return the manifest of a measurement whose files are all whole.

    Raises:
        DamagedError: a file is damaged or missing.
        DataError: a file cannot be read.
    """
    manifest = read_manifest(folder, REMEDY)
    for damage in damages(folder, manifest, REMEDY):
        raise damage
    return manifest


def _damage(folder: Path) -> DamagedError | None:
    """Return the first damage of a measurement; None if it is whole."""
    try:
        check(folder)
    except DamagedError as error:
        return error
    return None


def _read(folder: Path) -> Measurement:
    manifest = check(folder)
    return Measurement(key=manifest["config"], manifest=manifest, rows=read_parquet(folder / ROWS))


def _folder(results: Path, kind: str, name: str, key: str) -> Path:
    return results / kind / f"{short_name(name)}-{key}"
