"""Norm: BatchNorm with the statistics of the target batch.

Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation", NeurIPS 2020; Nado et
al., "Evaluating prediction-time batch normalization for robustness under covariate shift", 2020. With m and v the mean
and the (biased) variance of a layer's inputs over batch and pixels, every BatchNorm layer computes

    y = weight (x - m) / sqrt(v + eps) + bias

in place of the same with the source's running statistics. No parameter moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ttt_bench.adapter import Adapter, Card, Context, Norm, Plan, StepOut
from ttt_bench.model import Net


class NormAdapt(Adapter):
    """Prediction-time batch normalisation."""

    name: ClassVar[str] = "norm"
    card: ClassVar[Card] = Card(
        title="Norm: prediction-time batch normalisation",
        paper="Schneider et al., NeurIPS 2020; Nado et al., 2020",
        source="nothing of its own; Base's source model",
        moves="no parameter; BatchNorm uses the statistics of the batch",
        forwards=0,
        backwards=0,
        sizes="any",
        quirks=(
            "On a backbone without BatchNorm this is Base.",
            "The authors' code also moves the running statistics, which it never reads; here they stay.",
        ),
    )

    def bind(self, net: Net, statistics: Mapping[str, Tensor]) -> Plan:
        return Plan(moves=(), adapt=Norm.BATCH, predict=Norm.BATCH, exact=True)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return StepOut({}, net.model(images))
