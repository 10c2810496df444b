"""Numbers of trainable parameters of a network with a method, in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ttt_bench.adapt.session import moved_parameters
from ttt_bench.adapter import Adapter
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Net


def parameter_counts(net: Net, adapter: Adapter, moves: Sequence[str] | None) -> dict[str, Any]:
    """Return the numbers of trainable parameters, as S4T counts them (supplement, Table 6).

    The method's `uncounted` parameters are left out of every number.

    Args:
        net: the network with the method's modules, before a `Session` takes it over.
        adapter: the method.
        moves: `Plan.moves` of the method; None if it cannot adapt the network.

    Returns:
        `total`, its parts `backbone`, `heads` and `added` (the method's modules), and `moved`, the
        number that the method updates at test time; None without `moves`.

    Raises:
        BenchError: `moves` names no parameter of the network.
    """
    counts = count_parameters(net, adapter.uncounted)
    return {
        "total": counts.total,
        "backbone": counts.backbone,
        "heads": counts.heads,
        "added": counts.added,
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
