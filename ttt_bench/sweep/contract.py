"""Methods of other packages, and what a manifest states about their checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ttt_bench.registry import METHODS
from ttt_bench.results.contract import State, Verdict

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
