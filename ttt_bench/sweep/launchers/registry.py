"""The registered launchers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ttt_bench.config.request import Request
from ttt_bench.registry import unchanged_process
from ttt_bench.sweep.launchers.base import Launcher, Settings
from ttt_bench.util.code.plugins import Registry
from ttt_bench.util.input.validation import validated


def _problems(loaded: Any, name: str) -> Iterator[str]:
    """Yield the reasons why an entry point's object is not a valid launcher."""
    if not (isinstance(loaded, type) and issubclass(loaded, Launcher)):
        yield "must be a subclass of ttt_bench.sweep.launchers.base.Launcher"
        return
    if getattr(loaded, "name", None) != name:
        yield f"must have the name of its entry point, {name!r}"
    if missing := sorted(loaded.__abstractmethods__):
        yield f"does not define {', '.join(missing)}"
    if not (isinstance(loaded.Settings, type) and issubclass(loaded.Settings, Settings)):
        yield "has `Settings` that do not derive from ttt_bench.sweep.launchers.base.Settings"


LAUNCHERS: Registry[type[Launcher[Any]]] = Registry(
    "launcher",
    group="ttt_bench.launchers",
    problems=_problems,
    order=("local", "ray"),
    guard=unchanged_process,
)
"""The registered launchers."""


def find_launcher(request: Request) -> Launcher[Any]:
    """Return the launcher of a request.

    Raises:
        BenchError: it is unknown, does not import, or an option is invalid.
    """
    kind = LAUNCHERS.load(request.launcher)
    settings = validated(
        kind.Settings, request.launcher_option, lambda field: f"--launcher-option {field}"
    )
    return kind(settings)
