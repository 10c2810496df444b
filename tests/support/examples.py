"""Install the example packages of the documentation."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder


def pip_install(package: Path, folder: Path) -> None:
    """Install a package by pip into a folder, without its dependencies."""
    options = ["-q", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    command = [sys.executable, "-m", "pip", "install", *options, str(package)]
    subprocess.run(command, check=True, capture_output=True)


def unpack_wheel(package: Path, folder: Path) -> None:
    """Build a package's wheel and unpack it into a folder, which takes less time than pip."""
    (wheel,) = WheelBuilder(str(package)).build(directory=str(folder / "wheels"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)


@contextmanager
def importable(folder: Path, module: str) -> Iterator[Path]:
    """Make the packages in a folder importable in the block; forget `module` at its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield folder
    sys.modules.pop(module, None)
