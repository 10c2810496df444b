"""The commit of the running code: that of the checkout, or the one that a wheel was built from."""

from __future__ import annotations

import subprocess
from pathlib import Path

FILE = "commit.txt"
"""The file of the package in which the build of a wheel records the commit (`hatch_build.py`)."""


def running_commit() -> str:
    """Return the commit of this package; empty if it is not known."""
    package = Path(__file__).parents[2]
    recorded = package / FILE
    if recorded.is_file():
        return recorded.read_text(encoding="utf-8").strip()
    return checkout_commit(package.parent)


def checkout_commit(root: Path) -> str:
    """Return the commit of a checkout, 12 digits, with `-dirty` if tracked files differ from it.

    Returns:
        The commit; empty if `root` is not the folder of a checkout, or git cannot read it.
    """
    if not (root / ".git").exists():
        return ""
    command = ("git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12")
    try:
        done = subprocess.run(
            (*command, "--exclude=*"), capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
