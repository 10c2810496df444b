"""Base: the source model without adaptation.

Nothing moves, and BatchNorm uses the statistics of the source. Every relative score (Delta_TTT) is
relative to this model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ttt_bench.adapter import Adapter, Card, Context, Norm, Options, Passes, Plan, StepOut, Target
from ttt_bench.network import Net


class Base(Adapter[Options, None]):
    """No adaptation."""

    name: ClassVar[str] = "base"
    card: ClassVar[Card] = Card(
        title="Base: the source model without adaptation",
        paper="the reference of Delta_TTT in Jeong et al. (S4T), ICCV 2025",
        source_training="the shared network on the supervised task losses",
        moves="nothing",
        sizes="any",
    )

    def bind(self, net: Net[None], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return Plan(moves=(), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True)

    def passes(self, batch: int) -> Passes:
        return Passes(0, 0)

    def step(self, net: Net[None], images: Tensor, ctx: Context) -> StepOut:
        return StepOut({}, net.model(images))
