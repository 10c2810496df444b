"""Manifests as columns of text, in which equal entries of many cells are stored and read once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

SPLIT = ("configuration", "provenance")
"""Entries that are split into their own entries, because few of these differ between cells."""
PREFIX = "manifest "


def columns_of(manifests: Sequence[dict[str, Any]]) -> dict[str, pa.Array]:
    """Return a column of JSON text per entry; null for manifests without it."""
    flat = [dict(_flat(manifest)) for manifest in manifests]
    paths = sorted({path for one in flat for path in one})
    found = {}
    for path in paths:
        texts = [json.dumps(one[path]) if path in one else None for one in flat]
        found[PREFIX + json.dumps(path)] = pa.array(texts, pa.string()).dictionary_encode()
    return found


def manifests_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return the manifests that `columns_of` turned into columns.

    Equal entries of several manifests are one object.
    """
    found: list[dict[str, Any]] = [{} for _ in range(table.num_rows)]
    for name in table.column_names:
        if name.startswith(PREFIX):
            _set(found, json.loads(name.removeprefix(PREFIX)), table[name])
    return found


def _flat(manifest: dict[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in manifest.items():
        if key in SPLIT and value and isinstance(value, dict):
            found += [((key, inner), entry) for inner, entry in value.items()]
        else:
            found.append(((key,), value))
    return found


def _set(manifests: list[dict[str, Any]], path: list[str], column: pa.ChunkedArray) -> None:
    """Set an entry of all manifests that have it."""
    if not column.num_chunks:
        return
    encoded = column.dictionary_encode().unify_dictionaries().combine_chunks()
    values = [json.loads(text) for text in encoded.dictionary.to_pylist()]
    outer, *inner = path
    for manifest, code in zip(manifests, encoded.indices.to_pylist(), strict=True):
        if code is not None:
            target = manifest.setdefault(outer, {}) if inner else manifest
            target[path[-1]] = values[code]
