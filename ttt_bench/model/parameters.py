"""Numbers of trainable parameters, and the parameters that a task depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from ttt_bench.network import Net, Network


class Counts(NamedTuple):
    """Numbers of trainable parameters of a network.

    Attributes:
        backbone: in the shared backbone.
        heads: in the heads.
        added: in the method's own modules.
    """

    backbone: int
    heads: int
    added: int

    @property
    def total(self) -> int:
        """Return the sum of the three."""
        return sum(self)


def parameters_of_task(model: Network, task: str) -> tuple[str, ...]:
    """Return the names of a network's parameters without the heads of other tasks.

    If the heads are not separate per task, these are all of its parameters.
    """
    apart = isinstance(model.heads, nn.ModuleDict) and model.heads.keys() == model.tasks.keys()
    others = [f"heads.{other}." for other in model.tasks if apart and other != task]
    names = (name for name, _ in model.named_parameters())
    return tuple(name for name in names if not name.startswith(tuple(others)))


def count_parameters(net: Net, uncounted: Sequence[str] = ()) -> Counts:
    """Return the numbers of trainable parameters, as S4T counts them.

    Args:
        net: the network.
        uncounted: names of parameters of `extra` that belong to the training recipe.
    """

    def count(module: nn.Module | None, without: Sequence[str] = ()) -> int:
        named = module.named_parameters() if module is not None else ()
        return sum(p.numel() for name, p in named if p.requires_grad and name not in without)

    return Counts(count(net.model.backbone), count(net.model.heads), count(net.extra, uncounted))
