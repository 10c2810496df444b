"""Norm: BatchNorm with the statistics of the target batch.

Schneider et al., "Improving robustness against common corruptions by covariate shift adaptation",
NeurIPS 2020; Nado et al., "Evaluating prediction-time batch normalization for robustness under
covariate shift", 2020. With m and v the mean and the (biased) variance of a layer's inputs over
batch and pixels, every BatchNorm layer computes

    y = weight (x - m) / sqrt(v + eps) + bias

instead of using the source's running statistics r. No parameter moves. Two variants mix both kinds
of statistics, each with the unbiased v:

* With a share a (alpha-BN), or a prior of N images and a = n / (N + n) for batches of n images, the
  layers use (1 - a) r + a (m, v), and r stays.
* With `accumulate`, r moves once per batch, r <- (1 - a) r + a (m, v), where a is `norm_momentum`,
  and the network predicts with the moved r. The pass that moves r normalises with the batch alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import model_validator
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
from ttt_bench.model import mixed_statistics
from ttt_bench.network import Net

__all__ = ["NormAdapt", "NormOptions", "mixed_statistics"]


class NormOptions(Options):
    """Options of `NormAdapt`."""

    share: float | None = option(
        None,
        "weight of the batch in statistics that are mixed with the source's (alpha-BN); default: "
        "the batch alone",
        citation="Nado et al.: the batch alone; mariodoebler/test-time-adaptation: 0.1 for single "
        "images",
        gt=0,
        le=1,
    )
    prior: float | None = option(
        None,
        "number N of images that the source's statistics count for, in place of share: n / (N + n) "
        "with n images per batch",
        citation="Schneider et al., equation 1",
        ge=0,
    )
    accumulate: bool = option(
        default=False,
        description="move the running statistics once per batch, by norm_momentum, and predict "
        "with them",
        citation="Schneider et al., Nado et al.: every batch alone",
    )

    @model_validator(mode="after")
    def _one_way_to_mix(self) -> Self:
        if self.share is not None and self.prior is not None:
            raise ValueError("norm.share and norm.prior say the same in two ways; give one of them")
        if self.accumulate and (self.share is not None or self.prior is not None):
            raise ValueError(
                "norm.accumulate = true mixes by norm.norm_momentum; set that in place of "
                "norm.share or norm.prior"
            )
        return self

    def share_of(self, batch: int) -> float | None:
        """Return the weight of a batch of images, or None if statistics are not mixed."""
        return self.share if self.prior is None else batch / (self.prior + batch)


class NormAdapt(Adapter[NormOptions, None]):
    """Prediction-time batch normalisation."""

    name: ClassVar[str] = "norm"
    Options: ClassVar[type[Options]] = NormOptions
    card: ClassVar[Card] = Card(
        title="Norm: prediction-time batch normalisation",
        paper="Schneider et al., NeurIPS 2020; Nado et al., 2020",
        source_training="nothing; uses Base's source model",
        moves="no parameter; BatchNorm uses the statistics of the batch, alone or mixed with the "
        "source's (equal to Base on a backbone without BatchNorm)",
        sizes="any",
        quirks=(
            Quirk(
                "also updates the running statistics, which it never reads",
                "the running statistics do not change; the outputs are the same",
            ),
            Quirk(
                "of alpha-BN mixes the source's statistics with those of each batch, for which it "
                "takes the unbiased variance",
                "off by default; share or prior mixes in the same way",
                "share=0.1",
            ),
        ),
    )

    def bind(self, net: Net[None], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        share = self.options.share_of(target.batch)
        mode = Norm.BATCH if share is None else Norm.MIX
        if self.options.accumulate:
            mode = Norm.RUNNING
        return Plan(moves=(), adapt=mode, predict=mode, exact=True, share=share)

    def passes(self, batch: int) -> Passes:
        return Passes(0, 0)

    def begin_batch(self, net: Net[None], images: Tensor, ctx: Context) -> None:
        if self.options.accumulate:
            with ctx.norm(Norm.EMA):
                net.model.stages(images)

    def step(self, net: Net[None], images: Tensor, ctx: Context) -> StepOut:
        return StepOut({}, net.model(images))
