"""The verdict of the contract's checks on a plugin, as manifests keep it and reports show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ttt_bench.util.text import listed


class State(StrEnum):
    """The outcome of the checks of `ttt-bench methods check` or `networks check`."""

    PASSED = "passed"
    FAILED = "failed"
    UNCHECKED = "unchecked"


class Kind(StrEnum):
    """A kind of plugin that is checked."""

    METHOD = "method"
    NETWORK = "network"


FIELDS = {Kind.METHOD: "contract", Kind.NETWORK: "network_contract"}
"""Kind -> entry of a manifest with the verdict on the cell's plugin of that kind."""

_FUNCTIONS = {
    Kind.METHOD: "ttt_bench.conformance.assert_conforms",
    Kind.NETWORK: "ttt_bench.conformance.networks.assert_network_conforms",
}
"""Kind -> function that checks a class."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of the checks on a method or network of another package.

    Attributes:
        state: the outcome.
        failed: name of each failed check -> the problem.
        kit: version of ttt-bench and hash of its code, with which the plugin was checked.
        package: the package that registers the plugin; empty if it is registered in the process.
        name: name of the plugin.
        kind: its kind.
    """

    state: State
    failed: dict[str, str] = field(default_factory=dict)
    kit: str = ""
    package: str = ""
    name: str = ""
    kind: Kind = Kind.METHOD

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> list[Verdict]:
        """Return the verdicts in a manifest; none for plugins of ttt-bench."""
        # manifests of earlier versions have no names
        name = manifest.get("method", "")
        found = {kind: manifest[key] for kind, key in FIELDS.items() if manifest.get(key)}
        return [
            cls(**{"name": name, **entry, "state": State(entry["state"]), "kind": kind})
            for kind, entry in found.items()
        ]

    def record(self) -> dict[str, Any]:
        """Return the verdict as `of_manifest` reads it."""
        return asdict(self)

    @property
    def text(self) -> str:
        """Return the outcome in words, such as "failed: exact, moves"."""
        names = listed(list(self.failed), limit=6)
        words = f"{self.state}: {names}" if names else str(self.state)
        return words if self.kind == Kind.METHOD else f"{self.kind} {self.name} {words}"

    def explanation(self, printed: str = "") -> str:
        """Return what the outcome means, and the command that shows more.

        Args:
            printed: the printed name; empty: `name`, as commands have it.
        """
        printed = printed or self.name
        command = (
            f"`ttt-bench {self.kind}s check {self.name}`"
            if self.package
            else f"`{_FUNCTIONS[self.kind]}` with the class of {self.name}"
        )
        if self.state is State.UNCHECKED:
            return (
                f"{printed} was not checked against the contract of {self.kind}s; {command} checks "
                "it, and so does the next run without --no-check"
            )
        return (
            f"{printed} breaks the contract of {self.kind}s, so its numbers may not mean what the "
            f"table says ({self.text}); {command} shows why"
        )
