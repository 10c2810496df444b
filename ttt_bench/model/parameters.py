"""Counts of trainable parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from ttt_bench.network import Net


class Counts(NamedTuple):
    """Trainable parameters of a network."""

    backbone: int
    heads: int
    added: int

    @property
    def total(self) -> int:
        return sum(self)


def count_parameters(net: Net, uncounted: Sequence[str] = ()) -> Counts:
    """Trainable parameters, as S4T counts them (`uncounted`: names in `extra` that belong to the
    training recipe).
    """

    def count(module: nn.Module | None, without: Sequence[str] = ()) -> int:
        named = module.named_parameters() if module is not None else ()
        return sum(p.numel() for name, p in named if p.requires_grad and name not in without)

    return Counts(count(net.model.backbone), count(net.model.heads), count(net.extra, uncounted))
