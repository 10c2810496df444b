"""Parameters by name or pattern: those that a method moves, and the numbers of all in parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch

from ttt_bench.adapter import Adapter
from ttt_bench.errors import BenchError
from ttt_bench.model.parameters import Counts
from ttt_bench.network import Net
from ttt_bench.util.text import listed


def matched(
    patterns: Iterable[str], names: Collection[str], *, where: str, kind: str
) -> dict[str, set[str]]:
    """Return name or pattern (`fnmatch`) -> the names of parameters that it matches.

    A name matches itself alone.

    Args:
        patterns: names and patterns.
        names: names of parameters.
        where: the place of the patterns, for the error.
        kind: what the names are, such as "parameter of the network", for the error.

    Raises:
        BenchError: a pattern matches no name.
    """
    found: dict[str, set[str]] = {}
    for pattern in patterns:
        exact = {pattern} & set(names)
        found[pattern] = exact or {name for name in names if fnmatchcase(name, pattern)}
        if not found[pattern]:
            raise BenchError(
                f"{where}: {pattern!r} matches no {kind}; correct the name or pattern "
                f"(parameters: {listed(list(names))})"
            )
    return found


def moved_parameters(net: Net, moves: Sequence[str], method: str) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that a plan's names and patterns match, in the network's order.

    Raises:
        BenchError: a pattern matches no parameter.
    """
    named = dict(net.named_parameters())
    found = matched(moves, named, where=f"`moves` of {method}", kind="parameter of the network")
    wanted = set[str]().union(*found.values())
    return {name: parameter for name, parameter in named.items() if name in wanted}


def parameter_counts(
    net: Net, adapter: Adapter, moves: Sequence[str] | None, *, trainable: Counts
) -> dict[str, Any]:
    """Return the numbers of trainable parameters, as S4T counts them (supplement, Table 6).

    The method's `uncounted` parameters are left out of every number.

    Args:
        net: the network with the method's modules.
        adapter: the method.
        moves: `Plan.moves` of the method; None if it cannot adapt the network.
        trainable: `count_parameters` of the network before `bind`, which may freeze parameters.

    Returns:
        `total`, its parts `backbone`, `heads` and `added` (the method's modules), and `moved`, the
        number that the method updates at test time; None without `moves`.

    Raises:
        BenchError: `moves` names no parameter of the network.
    """
    return {
        "total": trainable.total,
        "backbone": trainable.backbone,
        "heads": trainable.heads,
        "added": trainable.added,
        "moved": None if moves is None else _moved(net, adapter, moves),
    }


def _moved(net: Net, adapter: Adapter, moves: Sequence[str]) -> int:
    """Return the number of parameters that the method updates at test time."""
    found = moved_parameters(net, moves, adapter.name)
    return sum(
        parameter.numel()
        for name, parameter in found.items()
        if name.removeprefix("extra.") not in adapter.uncounted
    )
