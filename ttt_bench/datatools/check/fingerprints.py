"""Report the fingerprint of the files of each split, as the data sets compute it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ttt_bench.datatools.check.findings import Finding


class SplitFingerprint(NamedTuple):
    """The fingerprint of the files that one split reads, and the number of its frames."""

    split: str
    fingerprint: str
    frames: int


def check_fingerprints(found: Sequence[SplitFingerprint], folder: Path) -> list[Finding]:
    """Return one finding per distinct fingerprint, with the splits that share it."""
    splits: dict[tuple[str, int], list[str]] = {}
    for each in found:
        splits.setdefault((each.fingerprint, each.frames), []).append(each.split)
    return [
        Finding.ok(
            "fingerprint",
            f"{fingerprint} of {', '.join(dict.fromkeys(names))}: {frames} frames",
            folder,
            frames,
        )
        for (fingerprint, frames), names in splits.items()
    ]


def checked_entry(found: Sequence[SplitFingerprint]) -> dict[str, Any]:
    """Return the manifest's entry of the fingerprints that were checked."""
    return {"checked": sorted({each.fingerprint for each in found})}
