"""Methods by name, found through the entry-point group `ttt_bench.methods`; listing them imports
none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from ttt_bench.errors import BenchError, unknown

if TYPE_CHECKING:
    from ttt_bench.adapter import Adapter

GROUP = "ttt_bench.methods"
ORDER = (
    "base",
    "norm",
    "tent",
    "tipi",
    "ttt",
    "tttpp",
    "tttflow",
    "clust3",
    "actmad",
    "nc_ttt",
    "s4t",
)
"""The order of the papers' rows; other methods follow by name."""


@dataclass(frozen=True)
class Registered:
    """A method as its entry point names it."""

    name: str
    package: str
    version: str
    location: str


def registered() -> dict[str, Registered]:
    """Every registered method in table order, without importing any.

    Raises:
        BenchError: two packages register the same name.
    """
    found: dict[str, Registered] = {}
    for point in entry_points(group=GROUP):
        entry = _describe(point)
        other = found.get(entry.name)
        if other is not None and other.location != entry.location:
            raise BenchError(
                f"two methods are called {entry.name!r}: {other.location} (package {other.package}) and "
                f"{entry.location} (package {entry.package}); uninstall one or rename its entry point"
            )
        found[entry.name] = entry
    rank = {name: number for number, name in enumerate(ORDER)}
    return dict(sorted(found.items(), key=lambda item: (rank.get(item[0], len(ORDER)), item[0])))


def load_method(name: str) -> type[Adapter]:
    """The class of a method.

    Raises:
        BenchError: no such method, its module does not import, or it is no complete `Adapter`.
    """
    entry = registered().get(name)
    if entry is None:
        raise unknown("method", name, registered())
    point = next(p for p in entry_points(group=GROUP) if p.name == name)
    try:
        loaded = point.load()
    except Exception as error:  # a plugin can fail in any way; the others must go on
        raise BenchError(
            f"method {name!r} ({entry.location}, package {entry.package}) does not import: {error}"
        ) from error
    problems = list(_interface_problems(loaded, name))
    if problems:
        raise BenchError(
            f"method {name!r} ({entry.location}, package {entry.package}) {'; '.join(problems)}"
        )
    return loaded


def _interface_problems(loaded: Any, name: str) -> Iterator[str]:
    """In what an object that an entry point names falls short of a method."""
    from ttt_bench.adapter import Adapter, Card, Hparams, Optimiser, Options

    if not (isinstance(loaded, type) and issubclass(loaded, Adapter)):
        yield "is no subclass of ttt_bench.adapter.Adapter"
        return
    if getattr(loaded, "name", None) != name:
        yield f"calls itself {getattr(loaded, 'name', None)!r}; its name must be that of the entry point"
    missing = sorted(getattr(loaded, "__abstractmethods__", ()))
    if missing:
        yield f"does not define {', '.join(missing)}"
    if not isinstance(getattr(loaded, "card", None), Card):
        yield "has no `card` (a ttt_bench.adapter.Card)"
    if not (isinstance(loaded.Options, type) and issubclass(loaded.Options, Options)):
        yield "has `Options` that do not derive from ttt_bench.adapter.Options"
    elif taken := sorted({*Optimiser.model_fields, "steps"} & loaded.Options.model_fields.keys()):
        yield f"has options with names that belong to the optimiser ({', '.join(taken)})"
    for attribute in ("paper", "original"):
        if not isinstance(getattr(loaded, attribute), Hparams):
            yield f"has a `{attribute}` that is no ttt_bench.adapter.Hparams"


def _describe(point: EntryPoint) -> Registered:
    distribution = point.dist
    package = distribution.name if distribution else "unknown"
    version = distribution.version if distribution else ""
    return Registered(point.name, package, version, point.value)
