"""A hook of the build: wheels contain the methods, and the commit that they are built from.

In a checkout `ttt_bench/methods` is a link to `methods/`, which source distributions do not keep.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelHook(BuildHookInterface):
    """Puts `methods/` in its place in the package, and records the commit in `commit.txt`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add files to a wheel; an editable installation uses the link and the checkout."""
        if version != "standard":
            return
        build_data["force_include"]["methods"] = "ttt_bench/methods"
        if commit := _commit(Path(self.root)):
            record = Path(self.directory) / "commit.txt"
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(f"{commit}\n", encoding="utf-8")
            build_data["force_include"][str(record)] = "ttt_bench/commit.txt"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the record, which the wheel contains now."""
        (Path(self.directory) / "commit.txt").unlink(missing_ok=True)


def _commit(root: Path) -> str:
    """Return the commit as `ttt-bench --version` does; the package cannot be imported here."""
    source = root / "ttt_bench/util/code/commit.py"
    return str(runpy.run_path(str(source))["checkout_commit"](root))
