"""Norm: BatchNorm with the statistics of the target batch.

Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation",
NeurIPS 2020; Nado et al., "Evaluating prediction-time batch normalization for robustness under
covariate shift", 2020. With m and v the mean and the (biased) variance of a layer's inputs over
batch and pixels, every BatchNorm layer computes

    y = weight (x - m) / sqrt(v + eps) + bias

instead of using the source's running statistics. No parameter moves. With the option `mix`, the
running statistics are updated once per batch, r <- (1 - a) r + a (m, v) with the unbiased v, and
the network predicts with the updated ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    Norm,
    Options,
    Passes,
    Plan,
    Quirk,
    StepOut,
    Target,
    option,
)
from ttt_bench.network import Net


class NormOptions(Options):
    """Options of `NormAdapt`."""

    mix: bool = option(
        default=False,
        description="update the running statistics once per batch, by norm_momentum, and predict "
        "with them; default: predict with the statistics of the batch",
        citation="Nado et al.: the batch alone",
    )


class NormAdapt(Adapter[NormOptions, None]):
    """Prediction-time batch normalisation."""

    name: ClassVar[str] = "norm"
    Options: ClassVar[type[Options]] = NormOptions
    card: ClassVar[Card] = Card(
        title="Norm: prediction-time batch normalisation",
        paper="Schneider et al., NeurIPS 2020; Nado et al., 2020",
        source_training="nothing; uses Base's source model",
        moves="no parameter; BatchNorm uses the statistics of the batch (equal to Base on a "
        "backbone without BatchNorm)",
        sizes="any",
        quirks=(
            Quirk(
                "also updates the running statistics, which it never reads",
                "the running statistics do not change; the outputs are the same",
            ),
        ),
    )

    def bind(self, net: Net[None], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        mode = Norm.BATCH if not self.options.mix else Norm.RUNNING
        return Plan(moves=(), adapt=mode, predict=mode, exact=True)

    def passes(self, batch: int) -> Passes:
        return Passes(0, 0)

    def begin_batch(self, net: Net[None], images: Tensor, ctx: Context) -> None:
        if self.options.mix:
            with ctx.norm(Norm.EMA):
                net.model.stages(images)

    def step(self, net: Net[None], images: Tensor, ctx: Context) -> StepOut:
        return StepOut({}, net.model(images))
