"""The verdict of the contract's checks on a method, as manifests keep it and reports show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from ttt_bench.util.text import listed


class State(StrEnum):
    """The outcome of the checks of `ttt-bench methods check`."""

    PASSED = "passed"
    FAILED = "failed"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of the checks on a method of another package.

    Attributes:
        state: the outcome.
        failed: name of each failed check -> the problem.
        kit: version of ttt-bench and hash of its code, with which the method was checked.
        package: the package that registers the method; empty if it is registered in the process.
    """

    state: State
    failed: dict[str, str] = field(default_factory=dict)
    kit: str = ""
    package: str = ""

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any]) -> Verdict | None:
        """Return the verdict in a manifest; None for a method of ttt-bench."""
        found = manifest.get("contract")
        return cls(**{**found, "state": State(found["state"])}) if found else None

    def record(self) -> dict[str, Any]:
        """Return the verdict as `of_manifest` reads it."""
        return asdict(self)

    @property
    def text(self) -> str:
        """Return the outcome in words, such as "failed: exact, moves"."""
        names = listed(list(self.failed), limit=6)
        return f"{self.state}: {names}" if names else str(self.state)

    def explanation(self, method: str, name: str = "") -> str:
        """Return what the outcome means, and the command that shows more.

        Args:
            method: the method, as commands name it.
            name: its printed name; empty: `method`.
        """
        name = name or method
        command = (
            f"`ttt-bench methods check {method}`"
            if self.package
            else f"`ttt_bench.conformance.assert_conforms` with the class of {method}"
        )
        if self.state is State.UNCHECKED:
            return (
                f"{name} was not checked against the contract of methods; {command} checks it, "
                "and so does the next run without --no-check"
            )
        return (
            f"{name} breaks the contract of methods, so its numbers may not mean what the table "
            f"says ({self.text}); {command} shows why"
        )
