"""The checkpoints that the cells and measurements of a results folder were computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ttt_bench.util.hashing import hash_of
from ttt_bench.util.text import short_name


def named_checkpoints(manifest: Mapping[str, Any]) -> set[str]:
    """Return the names, without suffix, of the checkpoints that a manifest depends on."""
    provenance = manifest.get("provenance") or {}
    named = {str(name) for name in provenance.get("checkpoints") or ()}
    statistics = (manifest.get("configuration") or {}).get("statistics")
    if statistics is not None:
        named.add(statistics_name(str(manifest.get("method")), statistics))
    return named


def statistics_name(method: str, key: Mapping[str, Any]) -> str:
    """Return the name of the checkpoint of a method's source statistics.

    Args:
        method: name of the method.
        key: everything that the statistics depend on.
    """
    return f"statistics-{short_name(method)}-{hash_of(key, 16)}"
