"""The manifests of a comparison's cells in short: entries that cells share are stated once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ttt_bench.report.frames import named_rows
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames

INTEGRITY = ("files",)
"""Entries that only detect damage."""


@dataclass(frozen=True)
class RowProvenance:
    """The manifests of the cells of a row.

    Attributes:
        label: the printed name of the row.
        shared: the entries that its cells share, and that other cells do not have, as JSON; empty
            without any.
        cells: name of each cell -> its other entries as JSON, empty without any.
    """

    label: str
    shared: str
    cells: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The manifests of all cells of a comparison.

    Attributes:
        shared: the entries that all cells share, as JSON.
        rows: the others, by row.
        count: number of cells.
    """

    shared: str
    rows: tuple[RowProvenance, ...]
    count: int


def provenance(cells: pd.DataFrame, names: MethodNames = PROPER_NAMES) -> Provenance:
    """Return the manifests of cells.

    Args:
        cells: `load.CELL_COLUMNS` and `label`.
        names: the printed names of rows.
    """
    manifests = [_without_digests(manifest) for manifest in cells["manifest"]]
    shared = common(manifests)
    own_entries = pd.Series([rest(one, shared) for one in manifests], cells.index, dtype=object)
    others = cells.assign(manifest=own_entries)
    by_label = others.groupby("label", sort=False)
    rows = tuple(_row(names.of(str(label)), own) for label, own in by_label)
    return Provenance(
        shared=_text(shared),
        rows=rows,
        count=len(cells),
    )


def common(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entries that are equal in all mappings, at any depth."""
    found: dict[str, Any] = {}
    for key, value in values[0].items():
        own: list[Any] = [one.get(key) for one in values]
        if all(key in one for one in values) and own.count(value) == len(own):
            found[key] = value
        elif all(isinstance(one, dict) for one in own) and (inner := common(own)):
            found[key] = inner
    return found


def rest(value: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of a mapping without those that `common` found."""
    found = {}
    for key, own in value.items():
        if key not in shared:
            found[key] = own
        elif own != shared[key]:
            found[key] = rest(own, shared[key])
    return found


def _row(name: str, cells: pd.DataFrame) -> RowProvenance:
    shared = common([dict(cell.manifest) for cell in named_rows(cells[["manifest"]])])
    named = {
        f"{name}, seed {cell.seed}: {cell.state}, configuration {cell.config}": _text(
            rest(cell.manifest, shared)
        )
        for cell in named_rows(cells[["seed", "state", "config", "manifest"]])
    }
    return RowProvenance(name, _text(shared), named)


def _without_digests(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key not in INTEGRITY}


def _text(entries: Mapping[str, Any]) -> str:
    return json.dumps(entries, indent=1, sort_keys=True) if entries else ""
