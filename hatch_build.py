"""A hook of the build: wheels contain the methods.

In a checkout `ttt_bench/methods` is a link to `methods/`, which source distributions do not keep.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class MethodsHook(BuildHookInterface):
    """Puts `methods/` in its place in the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folder to a wheel; an editable installation uses the link."""
        if version == "standard":
            build_data["force_include"]["methods"] = "ttt_bench/methods"
