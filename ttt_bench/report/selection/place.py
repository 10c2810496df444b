"""The place of a report: its folder and its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

PAGE = "index.html"
"""The page of a report."""


def usual_folder(results: Sequence[Path]) -> Path:
    """Return the folder that the report of results folders is written to by default."""
    return Path("reports") / "+".join(folder.name for folder in results)
