"""Select findings of `data check`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ttt_bench.datatools.check import Finding, check
from ttt_bench.util.progress import Silent


def among(findings: Sequence[Finding], level: str, name: str, *words: str) -> list[Finding]:
    """Return the findings of a level and a check whose message contains all the words."""
    return [
        finding
        for finding in findings
        if (finding.level, finding.check) == (level, name)
        and all(word in finding.message for word in words)
    ]


def found(root: Path, level: str, name: str, *words: str) -> list[Finding]:
    """Check a folder and return the findings that `among` selects."""
    return among(check(root, Silent()), level, name, *words)
