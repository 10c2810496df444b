"""Load the methods of a request, with their settings."""

from __future__ import annotations

from dataclasses import dataclass

from ttt_bench.adapter import Adapter
from ttt_bench.config.method_settings import MethodSettings, resolve_method
from ttt_bench.registry import METHODS
from ttt_bench.sweep.resolve import ResolvedRequest
from ttt_bench.util.problems import attempt


@dataclass(frozen=True, kw_only=True)
class RequestedMethods:
    """The methods of a request.

    Attributes:
        settings: name of a preset -> each method's settings in it.
        notices: reasons why methods that were not named are left out.
    """

    settings: dict[str, list[MethodSettings]]
    notices: list[str]


def requested_methods(resolved: ResolvedRequest) -> tuple[RequestedMethods, list[str]]:
    """Return the settings of all methods in the presets of all pairs."""
    classes, broken = _load_methods(resolved)
    problems = [problem for name, problem in broken if name in resolved.named]
    settings: dict[str, list[MethodSettings]] = {}
    for name, preset in {one.preset_name: one.preset for one in resolved.pairs}.items():
        found = [
            attempt(resolve_method, one, preset, resolved.request, resolved.tuned)
            for one in classes
        ]
        settings[name] = [value for value, _ in found if value is not None]
        problems = [*problems, *(problem for _, new in found for problem in new)]
    problems = [*problems, *_unused_problems(resolved)]
    notices = [f"left out: {problem}" for name, problem in broken if name not in resolved.named]
    return RequestedMethods(settings=settings, notices=notices), problems


def _unused_problems(resolved: ResolvedRequest) -> list[str]:
    """Return the problems of settings of methods that do not run, such as misspelt options."""
    owners = {key.partition(".")[0] for key in resolved.request.set}
    problems: list[str] = []
    for name in sorted(owners & set(METHODS.names()) - set(resolved.methods)):
        method, new = attempt(METHODS.load, name)
        problems += new
        if method is not None:
            for pair in resolved.pairs:
                problems += attempt(resolve_method, method, pair.preset, resolved.request)[1]
    return problems


def _load_methods(
    resolved: ResolvedRequest,
) -> tuple[list[type[Adapter]], list[tuple[str, str]]]:
    """Return the classes of the methods, and name and problem of those that cannot be loaded."""
    found = {name: attempt(METHODS.load, name) for name in resolved.methods}
    classes = [method for method, _ in found.values() if method is not None]
    return classes, [(name, problem) for name, (_, new) in found.items() for problem in new]
