"""The registered methods and networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ttt_bench.config.preset import SECTIONS
from ttt_bench.results.method_names import METHOD_ORDER, MORE, PAPERS
from ttt_bench.util.code.plugins import Registry

if TYPE_CHECKING:
    from ttt_bench.adapter import Adapter
    from ttt_bench.network import Network


def unchanged_process(what: str) -> AbstractContextManager[Any]:
    """Return a context that raises a `ProcessError` if what runs in it changes the process."""
    # it imports torch, which a listing does without
    from ttt_bench.util.process import watched

    return watched(what)


def _method_problems(loaded: Any, name: str) -> Iterator[str]:
    """Yield the reasons why an entry point's object is not a valid method."""
    from ttt_bench.adapter import Adapter, Card, Hparams, Optimiser, Options

    if not (isinstance(loaded, type) and issubclass(loaded, Adapter)):
        yield "must be a subclass of ttt_bench.adapter.Adapter"
        return
    if getattr(loaded, "name", None) != name:
        yield (
            f"has the name {getattr(loaded, 'name', None)!r}; "
            "the name must be that of its entry point"
        )
    missing = sorted(getattr(loaded, "__abstractmethods__", ()))
    if missing:
        yield f"does not define {', '.join(missing)}"
    if not isinstance(getattr(loaded, "card", None), Card):
        yield "has no `card` (a ttt_bench.adapter.Card)"
    if not (isinstance(loaded.Options, type) and issubclass(loaded.Options, Options)):
        yield "has `Options` that do not derive from ttt_bench.adapter.Options"
    elif taken := sorted({*Optimiser.model_fields, "steps"} & loaded.Options.model_fields.keys()):
        yield f"has options with names of optimiser settings ({', '.join(taken)}); rename them"
    for attribute in ("paper", "original"):
        if not isinstance(getattr(loaded, attribute), Hparams):
            yield f"has a `{attribute}` that is not a ttt_bench.adapter.Hparams"


GROUPS = {
    "all": "the papers' methods",
    "more": "further methods of this package",
    "everything": "all installed methods",
}
"""Name of a group of methods -> what it contains; a name in `--methods`."""


METHODS: Registry[type[Adapter]] = Registry(
    "method",
    group="ttt_bench.methods",
    problems=_method_problems,
    order=METHOD_ORDER,
    reserved=(*GROUPS, "batch", *SECTIONS),
    guard=unchanged_process,
)
"""The registered methods, in the order of the papers' tables."""


def members(group: str) -> tuple[str, ...]:
    """Return the registered methods of a group, in listing order."""
    own = {"all": PAPERS, "more": MORE}.get(group)
    return tuple(name for name in METHODS.names() if own is None or name in own)


def group_of(method: str) -> str:
    """Return the smallest group that contains a method."""
    return next((group for group in ("all", "more") if method in members(group)), "everything")


def expanded(names: Iterable[str]) -> tuple[str, ...]:
    """Return the methods of a list of methods and groups, each once."""
    several = [members(name) if name in GROUPS else (name,) for name in names]
    return tuple(dict.fromkeys(name for group in several for name in group))


def _network_problems(loaded: Any, name: str) -> Iterator[str]:
    """Yield the reasons why an entry point's object is not a valid network."""
    from ttt_bench.network import Network, NetworkOptions

    if not (isinstance(loaded, type) and issubclass(loaded, Network)):
        yield "must be a subclass of ttt_bench.model.StagedNetwork"
        return
    if getattr(loaded, "name", None) != name:
        yield (
            f"has the name {getattr(loaded, 'name', None)!r}; "
            "the name must be that of its entry point"
        )
    missing = sorted(getattr(loaded, "__abstractmethods__", ()))
    if missing:
        yield f"does not define {', '.join(missing)}"
    if not (isinstance(loaded.Options, type) and issubclass(loaded.Options, NetworkOptions)):
        yield "has `Options` that do not derive from ttt_bench.network.NetworkOptions"


NETWORKS: Registry[type[Network]] = Registry(
    "network",
    group="ttt_bench.networks",
    problems=_network_problems,
    order=("hypercolumn", "mti_net"),
    guard=unchanged_process,
)
"""The registered networks, that of the papers first."""
