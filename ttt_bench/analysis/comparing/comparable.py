"""The entries of two manifests that must be equal for their numbers to be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Manifest = Mapping[str, Any]

ALL = "all"
"""Allows every difference."""

EVALUATION = (
    *("pair", "protocol", "data_variant", "variant", "evaluation", "tasks", "scoring", "steps"),
    *("target", "target_code", "target_images", "target_size", "target_recipe"),
    *("target_statistics", "label_space", "batch"),
)
"""Entries that decide on the target's images and labels, on their scoring, and on the steps."""

SOURCE = ("source_recipe", "model", "training", "source_data", "source_weights")
"""Entries that decide on the common source model."""

OPTIONAL = ("target_code", "source_weights")
"""Entries that manifests contain only if they apply."""


class Unequal(NamedTuple):
    """An entry in which two manifests differ; the parts of an entry are joined by a point."""

    name: str
    first: Any
    second: Any

    def __str__(self) -> str:
        return f"{self.name} is {_words(self.first)} and {_words(self.second)}"


def unequal(first: Manifest, second: Manifest, names: Sequence[str]) -> list[Unequal]:
    """Return the entries that differ.

    Entries that one of the manifests does not record are left out: such manifests are of different
    formats, and `evaluation` differs. Steps of a method that moves no parameter do not count.
    """
    ours, theirs = _entries(first), _entries(second)
    found: list[Unequal] = []
    for name in names:
        recorded = name in OPTIONAL or (name in ours and name in theirs)
        if recorded and not (name == "steps" and _still(first, second)):
            found += _parts(name, ours.get(name), theirs.get(name))
    return found


def permitted(entry: Unequal, allow: Collection[str]) -> bool:
    """Return whether a difference is allowed by its name, by that of its whole entry, or by all."""
    return bool({ALL, entry.name, entry.name.partition(".")[0]} & set(allow))


def _entries(manifest: Manifest) -> dict[str, Any]:
    """Return the entries of a manifest by the names of `EVALUATION` and `SOURCE`."""
    provenance = manifest.get("provenance") or {}
    training = (manifest.get("preset_values") or {}).get("training")
    of_source = {name: provenance.get(name) for name in ("source_data", "source_weights")}
    found = {**manifest, **(manifest.get("configuration") or {}), "training": training, **of_source}
    return {name: value for name, value in found.items() if value is not None}


def _still(*manifests: Manifest) -> bool:
    """Return whether a method that moves no parameter is among them."""
    return any("optimiser" in one and one["optimiser"] is None for one in manifests)


def _parts(name: str, first: Any, second: Any) -> Iterator[Unequal]:
    """Yield the parts of an entry that differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys([*first, *second]):
            yield from _parts(f"{name}.{key}", first.get(key), second.get(key))
    elif first != second:
        yield Unequal(name, first, second)


def _words(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return repr(value) if isinstance(value, str) and " " in value else str(value)
