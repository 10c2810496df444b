"""The results of checks: one line per finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from ttt_bench.errors import DataError
from ttt_bench.util.os_errors import explained_reading

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of a check.

    Attributes:
        level: "ok", "warning" (usable, but worth a look) or "error" (unusable).
        check: layout, splits, frames, files, values, conventions, edges, agreement, classes,
            fingerprint or contents.
        message: the result; for a problem also what to do.
        path: an example file or folder, if any.
        count: the number of files or frames that the finding is about; 0 if it counts nothing.
        about: the part of the data set that the finding judges, such as "depth"; empty for others.
    """

    level: Level
    check: str
    message: str
    path: Path | None = None
    count: int = 0
    about: str = ""

    @classmethod
    def ok(cls, check: str, message: str, path: Path | None = None, count: int = 0) -> Self:
        """Return a finding without a problem."""
        return cls(level="ok", check=check, message=message, path=path, count=count)

    @classmethod
    def warning(
        cls,
        check: str,
        message: str,
        path: Path | None = None,
        count: int = 0,
        *,
        about: str = "",
    ) -> Self:
        """Return a finding about data that are usable but may surprise."""
        return cls(
            level="warning", check=check, message=message, path=path, count=count, about=about
        )

    @classmethod
    def error(cls, check: str, message: str, path: Path | None = None, count: int = 0) -> Self:
        """Return a finding about data that cannot be used."""
        return cls(level="error", check=check, message=message, path=path, count=count)

    @classmethod
    def ok_if(
        cls,
        good: bool,
        check: str,
        message: str,
        path: Path | None = None,
        *,
        count: int = 0,
        about: str = "",
    ) -> Self:
        """Return a finding of level "ok" if `good`, otherwise of level "warning"."""
        level: Level = "ok" if good else "warning"
        return cls(level=level, check=check, message=message, path=path, count=count, about=about)


@dataclass(frozen=True)
class Measured:
    """Measured values for the manifest in a data set's folder."""

    folder: Path
    entries: Mapping[str, Any]


Results = Iterator[Finding | Measured]
"""What the checks of one data set yield, in the order in which findings are shown."""


@dataclass(frozen=True)
class CheckResult:
    """The findings of the checks of one data set, and its measured values if there are any."""

    findings: list[Finding] = field(default_factory=list)
    measured: tuple[Measured, ...] = ()


def collect(results: Results, root: Path) -> CheckResult:
    """Return the results of all checks of a data set.

    If a file cannot be read, the results so far are kept, and an error that names the file follows.
    """
    findings: list[Finding] = []
    measured: list[Measured] = []
    try:
        with explained_reading(root):
            for result in results:
                if isinstance(result, Measured):
                    measured.append(result)
                else:
                    findings.append(result)
    except DataError as error:
        findings.append(Finding.error("files", f"{error}. The later checks did not run", root))
    return CheckResult(findings, tuple(measured))


def doubted(findings: Sequence[Finding], *parts: str) -> bool:
    """Return whether any finding about one of these parts is not ok."""
    return any(finding.about in parts and finding.level != "ok" for finding in findings)


def has_error(findings: Sequence[Finding]) -> bool:
    """Return whether any finding is an error."""
    return any(finding.level == "error" for finding in findings)


def exit_code(findings: Sequence[Finding], *, strict: bool = False) -> int:
    """Return 2 if there is an error, 1 if there is a warning and `strict` is set, otherwise 0."""
    if has_error(findings):
        return 2
    warned = any(finding.level == "warning" for finding in findings)
    return 1 if strict and warned else 0
