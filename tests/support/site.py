"""Folders of packages on the import path, with and without the lists of an installation."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ttt_bench.util.hashing import code_hash


class Site:
    """A folder on the import path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def install(self, name: str, files: Mapping[str, str], entry_points: str = "") -> None:
        """Write files with the list of a distribution, as pip does."""
        info = f"{name.replace('-', '_')}-1.0.dist-info"
        metadata = {
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{info}/entry_points.txt": entry_points,
        }
        listed = "".join(f"{file},sha256=x,1\n" for file in (*files, *metadata))
        self.write({**files, **metadata, f"{info}/RECORD": listed})
        importlib.invalidate_caches()

    def load(self, name: str) -> Any:
        """Return the object `module:object`."""
        module, _, attribute = name.partition(":")
        importlib.invalidate_caches()
        return getattr(importlib.import_module(module), attribute)

    def changes(self, subject: Any, name: str, text: str = "VALUE = 2\n") -> bool:
        """Return whether the hash of a subject changes with a file; restore the file."""
        path = self.folder / name
        before, content = code_hash(subject), path.read_bytes()
        path.write_text(text)
        after = code_hash(subject)
        path.write_bytes(content)
        assert code_hash(subject) == before
        return after != before


@contextmanager
def site_on_path(folder: Path) -> Iterator[Site]:
    """Create a folder that modules are imported from in the block; forget them at its end."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield Site(folder)
    own = {path.name.partition(".")[0] for path in folder.iterdir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]
