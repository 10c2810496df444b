"""The conditions that cells were computed under: device, precision, threads, versions and code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

NOT_RECORDED = "not recorded"
"""The value of a condition in cells that were written without it."""

Seeds = dict[str, list[int]]
"""Label of a row -> seeds of its cells."""


@dataclass(frozen=True)
class Difference:
    """A condition in which cells differ.

    Attributes:
        name: the condition, in words.
        cells: value of the condition -> the cells that have it.
    """

    name: str
    cells: Mapping[str, Seeds]

    @property
    def mixed(self) -> tuple[str, ...]:
        """Return the labels whose seeds differ in the condition."""
        labels = [label for seeds in self.cells.values() for label in seeds]
        return tuple(label for label in dict.fromkeys(labels) if labels.count(label) > 1)


def conditions(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the conditions of a cell by name; the code and package only concern its method."""
    provenance = manifest.get("provenance") or {}
    stated = provenance.get("versions")
    versions = stated if isinstance(stated, dict) else {}
    method = manifest.get("method")
    found = {
        "device": provenance.get("device"),
        "processor": provenance.get("processor"),
        "precision": provenance.get("precision"),
        # earlier versions had the default kernels only
        "kernels": provenance.get("kernels", "default") if provenance else None,
        "number of threads": provenance.get("threads"),
        "number of training devices": provenance.get("train_devices", 1) if provenance else None,
        "version of torch": versions.get("torch"),
        "version of timm": versions.get("timm"),
        "version of ttt-bench": versions.get("ttt-bench"),
        "code of ttt-bench": provenance.get("harness"),
        f"code of {method}": provenance.get("method"),
    }
    return {name: str(value or NOT_RECORDED) for name, value in found.items()}


def differences(cells: pd.DataFrame) -> list[Difference]:
    """Return the conditions in which cells differ.

    Args:
        cells: cells with numbers (`load.CELL_COLUMNS` and `label`).
    """
    found: dict[str, dict[str, Seeds]] = {}
    for label, seed, manifest in zip(cells["label"], cells["seed"], cells["manifest"], strict=True):
        for name, value in conditions(manifest).items():
            found.setdefault(name, {}).setdefault(value, {}).setdefault(label, []).append(int(seed))
    return [Difference(name, values) for name, values in found.items() if len(values) > 1]


def shared_conditions(cells: pd.DataFrame) -> dict[str, str]:
    """Return the recorded conditions that all cells share, by name.

    Args:
        cells: cells with numbers (`load.CELL_COLUMNS`).
    """
    return {
        name: value
        for name, values in _values(cells).items()
        for value in values
        if len(values) == 1 and value != NOT_RECORDED
    }


def differences_between(groups: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, list[str]]]:
    """Return the conditions in which groups of cells differ: name -> group -> sorted values.

    The code of a method is compared between the groups that contain the method.

    Args:
        groups: name of a group -> its cells (`load.CELL_COLUMNS`), of which those with numbers
            count.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for group, cells in groups.items():
        for name, values in _values(cells).items():
            found.setdefault(name, {})[group] = sorted(values)
    return {name: values for name, values in found.items() if len(_distinct(values)) > 1}


def unrecorded(cells: pd.DataFrame) -> Iterator[str]:
    """Yield the labels of cells that record none of their conditions."""
    for label, manifest in zip(cells["label"], cells["manifest"], strict=True):
        if set(conditions(manifest).values()) == {NOT_RECORDED}:
            yield label


def _values(cells: pd.DataFrame) -> dict[str, set[str]]:
    """Return the values of each condition of the cells with numbers."""
    found: dict[str, set[str]] = {}
    for manifest in cells["manifest"][cells["state"] == "done"]:
        for name, value in conditions(manifest).items():
            found.setdefault(name, set()).add(value)
    return found


def _distinct(values: Mapping[str, list[str]]) -> set[tuple[str, ...]]:
    return {tuple(found) for found in values.values()}
