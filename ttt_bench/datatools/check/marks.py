"""Fingerprints of the files of each split, as the data sets themselves have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ttt_bench.datatools.check.findings import Finding


def check_marks(marks: Sequence[tuple[str, str, int]], folder: Path) -> list[Finding]:
    """A line for each different fingerprint, given (split, fingerprint, frames)."""
    splits: dict[tuple[str, int], list[str]] = {}
    for split, mark, count in marks:
        splits.setdefault((mark, count), []).append(split)
    return [
        Finding(
            "ok",
            "fingerprint",
            f"{mark} of {', '.join(dict.fromkeys(names))}: {count} frames",
            folder,
            count,
        )
        for (mark, count), names in splits.items()
    ]
