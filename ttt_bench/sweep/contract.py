"""Methods of other packages, and what a manifest states about their checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttt_bench.registry import METHODS
from ttt_bench.results import store
from ttt_bench.results.contract import State, Verdict
from ttt_bench.results.records import read_manifest

OWN_PACKAGE = "ttt-bench"
"""The distribution whose methods the project's own tests check."""


def is_foreign(method: str) -> bool:
    """Return whether another package, or this process, registers a method."""
    return METHODS.entry(method).package != OWN_PACKAGE


def contract_record(method: str, verdicts: Mapping[str, Verdict]) -> dict[str, Any] | None:
    """Return the entry `contract` of a method's manifests; None for a method of ttt-bench."""
    if not is_foreign(method):
        return None
    unchecked = Verdict(state=State.UNCHECKED, package=METHODS.entry(method).package)
    return verdicts.get(method, unchecked).record()


def refresh(folder: Path, method: str, verdicts: Mapping[str, Verdict]) -> None:
    """Write a method's verdict into the manifest of a finished cell, if it is another one.

    The cell may have been computed without checks, or under an earlier version of them. Its numbers
    stay.

    Raises:
        BenchError: the manifest is damaged or cannot be written.
    """
    if method not in verdicts or not is_foreign(method):
        return
    manifest, record = read_manifest(folder), contract_record(method, verdicts)
    # manifests of earlier versions have no list of files
    if "files" in manifest and manifest.get("contract") != record:
        store.update_manifest(folder, {"contract": record})
