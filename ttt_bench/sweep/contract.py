"""Methods and networks of other packages, and what a manifest states about their checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ttt_bench.registry import METHODS, NETWORKS
from ttt_bench.results import store
from ttt_bench.results.contract import FIELDS, Kind, State, Verdict
from ttt_bench.results.records import read_manifest
from ttt_bench.sweep.cell import Cell

OWN_PACKAGE = "ttt-bench"
"""The distribution whose methods and networks the project's own tests check."""


class Plugin(NamedTuple):
    """A method or network, by its name."""

    kind: Kind
    name: str

    @property
    def package(self) -> str:
        """The package that registers it; empty if this process does."""
        method = self.kind is Kind.METHOD
        entry = METHODS.entry(self.name) if method else NETWORKS.entry(self.name)
        return entry.package

    @property
    def is_foreign(self) -> bool:
        """Whether another package, or this process, registers it."""
        return self.package != OWN_PACKAGE


Verdicts = Mapping[Plugin, Verdict]


def foreign_plugins(cell: Cell) -> list[Plugin]:
    """Return the method and the network of a cell, without those of ttt-bench."""
    network = cell.opened.preset.model.architecture
    found = (Plugin(Kind.METHOD, cell.method), Plugin(Kind.NETWORK, network))
    return [plugin for plugin in found if plugin.is_foreign]


def contract_record(cell: Cell, verdicts: Verdicts) -> dict[str, Any]:
    """Return the entries of a cell's manifest about checks; others count as unchecked."""
    found: dict[str, Any] = {FIELDS[Kind.METHOD]: None}
    for plugin in foreign_plugins(cell):
        unchecked = Verdict(
            state=State.UNCHECKED, package=plugin.package, name=plugin.name, kind=plugin.kind
        )
        found[FIELDS[plugin.kind]] = verdicts.get(plugin, unchecked).record()
    return found


def refresh(folder: Path, cell: Cell, verdicts: Verdicts) -> None:
    """Write the verdicts on a finished cell's plugins into its manifest, if they are others.

    The cell may have been computed without checks, or under an earlier version of them. Its numbers
    stay.

    Raises:
        BenchError: the manifest is damaged or cannot be written.
    """
    known = [plugin for plugin in foreign_plugins(cell) if plugin in verdicts] if verdicts else []
    if not known:
        return
    manifest = read_manifest(folder)
    record = {FIELDS[plugin.kind]: verdicts[plugin].record() for plugin in known}
    # manifests of earlier versions have no list of files
    if "files" in manifest and any(manifest.get(key) != one for key, one in record.items()):
        store.update_manifest(folder, record)
