"""The results of checks: one line per finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a check.

    Attributes:
        level: "ok", "warning" (usable, but worth a look) or "error" (unusable).
        check: layout, splits, frames, files, values, conventions, edges, classes or fingerprint.
        message: the result; for a problem also what to do.
        path: an example file or folder, if any.
        count: the number of files or frames that the finding is about; 0 if it counts nothing.
    """

    level: Level
    check: str
    message: str
    path: Path | None = None
    count: int = 0

    @classmethod
    def ok(cls, check: str, message: str, path: Path | None = None, count: int = 0) -> Self:
        """Return a finding without a problem."""
        return cls(level="ok", check=check, message=message, path=path, count=count)

    @classmethod
    def warning(cls, check: str, message: str, path: Path | None = None, count: int = 0) -> Self:
        """Return a finding about data that are usable but may surprise."""
        return cls(level="warning", check=check, message=message, path=path, count=count)

    @classmethod
    def error(cls, check: str, message: str, path: Path | None = None, count: int = 0) -> Self:
        """Return a finding about data that cannot be used."""
        return cls(level="error", check=check, message=message, path=path, count=count)

    @classmethod
    def ok_if(
        cls, good: bool, check: str, message: str, path: Path | None = None, *, count: int = 0
    ) -> Self:
        """Return a finding of level "ok" if `good`, otherwise of level "warning"."""
        level: Level = "ok" if good else "warning"
        return cls(level=level, check=check, message=message, path=path, count=count)


@dataclass(frozen=True)
class CheckResult:
    """The result of all checks of one data set.

    Attributes:
        findings: in the order in which they are shown.
        folder: the data set's folder, where its manifest is kept.
        entries: measured values for the manifest.
    """

    findings: list[Finding]
    folder: Path
    entries: Mapping[str, Any] = field(default_factory=dict)


def has_error(findings: Sequence[Finding]) -> bool:
    """Return whether any finding is an error."""
    return any(finding.level == "error" for finding in findings)


def exit_code(findings: Sequence[Finding], *, strict: bool = False) -> int:
    """Return 2 if there is an error, 1 if there is a warning and `strict` is set, otherwise 0."""
    if has_error(findings):
        return 2
    warned = any(finding.level == "warning" for finding in findings)
    return 1 if strict and warned else 0
