"""Install the example packages of the documentation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def pip_install(package: Path, folder: Path) -> None:
    """Install a package by pip into a folder, without its dependencies."""
    options = ["-q", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options, str(package)]
    subprocess.run(command, check=True, capture_output=True)
