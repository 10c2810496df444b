"""TENT: test-time entropy minimisation.

Wang et al., "Tent: fully test-time adaptation by entropy minimization", ICLR 2021. With p_c the
softmax of the segmentation logits over classes, at each pixel

    H = - sum_c p_c log p_c,        loss = mean of H over batch and pixels,

minimised over the scale and shift of every normalisation layer. These layers normalise with the
statistics of the batch. Depth, normals and edges have no distribution over classes; they change
only through the shared backbone. The entropy is computed at full resolution, on the logits that
are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    Hparams,
    Needs,
    Norm,
    Optimiser,
    Options,
    Plan,
    Quirk,
    StepOut,
    Target,
    option,
)
from ttt_bench.losses import softmax_entropy
from ttt_bench.model import AFFINE_NORMS, BATCH_NORMS, affine_parameters
from ttt_bench.network import Net


def entropy_loss(logits: Tensor) -> Tensor:
    """Return the mean of `softmax_entropy` over batch and pixels (scalar)."""
    return softmax_entropy(logits).mean()


class TentOptions(Options):
    """Options of `Tent`."""

    affine: Literal["bn", "any"] = option(
        "bn",
        "layers whose scale and shift move: bn (BatchNorm), or any (also Group-, Layer- and "
        "InstanceNorm)",
        citation="authors' code: BatchNorm; `any` for backbones without it",
    )


class Tent(Adapter[TentOptions, None]):
    """Entropy minimisation over the affine parameters of the normalisation layers."""

    name: ClassVar[str] = "tent"
    Options: ClassVar[type[Options]] = TentOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, CIFAR-10-C, the only data set that it has a script for: Adam, one "
        "step per batch (of 200)",
        optimiser=Optimiser(optimiser="adam", lr=1e-3, beta1=0.9, weight_decay=0.0),
        steps=1,
    )
    card: ClassVar[Card] = Card(
        title="TENT: test-time entropy minimisation",
        paper="Wang et al., Tent: fully test-time adaptation by entropy minimization, ICLR 2021",
        source_training="nothing; uses Base's source model",
        moves="scale and shift of every BatchNorm layer",
        sizes="any",
        quirks=(
            Quirk(
                "returns the outputs of the last adapting forward pass, made before the last "
                "update",
                "the prediction of step k is made after k updates; the authors' one-step outputs "
                "are those of step 0",
            ),
            Quirk(
                "deletes the running statistics",
                "the layers ignore them; the outputs are the same, and a reset can restore "
                "everything",
            ),
        ),
    )

    def needs(self) -> Needs:
        bn = self.options.affine == "bn"
        return Needs(tasks=frozenset({"semseg"}), batchnorm=bn, affine=not bn)

    def bind(self, net: Net[None], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        kinds = BATCH_NORMS if self.options.affine == "bn" else AFFINE_NORMS
        moves = affine_parameters(net.model, kinds, prefix="model.")
        return Plan(moves=moves, adapt=Norm.BATCH, predict=Norm.BATCH, exact=True)

    def step(self, net: Net[None], images: Tensor, ctx: Context) -> StepOut:
        predictions = net.model(images)
        return StepOut({"entropy": entropy_loss(predictions["semseg"])}, predictions)
