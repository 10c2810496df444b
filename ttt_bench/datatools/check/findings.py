"""What a check says: one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One line of a check.

    Attributes:
        level: ok, warning (usable, but look), error (unusable as it is).
        check: layout, splits, frames, files, values, conventions, edges, classes or fingerprint.
        message: what was found and, where something is wrong, what to do.
        path: an example file or folder, if any.
        count: how many things the finding is about; 0 where there is nothing to count.
    """

    level: Level
    check: str
    message: str
    path: Path | None = None
    count: int = 0


@dataclass(frozen=True)
class Outcome:
    """What the checks of one data set found.

    Attributes:
        folder: where its manifest is kept.
        entries: what was measured, for the manifest.
    """

    findings: list[Finding]
    folder: Path
    entries: Mapping[str, Any] = field(default_factory=dict)


def exit_code(findings: Sequence[Finding], strict: bool = False) -> int:
    """0: fine; 1: warnings, where `strict` asks for none; 2: an error."""
    levels = {finding.level for finding in findings}
    if "error" in levels:
        return 2
    return 1 if strict and "warning" in levels else 0
