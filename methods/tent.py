"""TENT: test-time entropy minimisation.

Wang et al., "Tent: fully test-time adaptation by entropy minimization", ICLR 2021. With p_c the softmax of the
segmentation logits over classes, at each pixel

    H = - sum_c p_c log p_c,        loss = mean of H over batch and pixels,

minimised over the scale and shift of every normalisation layer, which normalises with the statistics of the batch.
Depth, normals and edges define no distribution over classes; they change through the shared backbone alone. The entropy
is taken at full resolution, on the logits that are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ttt_bench.adapter import Adapter, Card, Context, Hparams, Needs, Norm, Optimiser, Options, Plan, StepOut, option
from ttt_bench.errors import BenchError
from ttt_bench.model import Net


def softmax_entropy(logits: Tensor) -> Tensor:
    """Entropy in nats of the softmax over dim 1: (N, C, H, W) -> (N, H, W), (N, C) -> (N,).

    The logarithm is that of `log_softmax`: a probability that underflows contributes 0 and not NaN.
    """
    return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)


def entropy_loss(logits: Tensor) -> Tensor:
    """Mean of `softmax_entropy` over batch and pixels (scalar)."""
    return softmax_entropy(logits).mean()


class TentOptions(Options):
    """Options of `Tent`."""

    affine: Literal["bn", "any"] = option(
        "bn",
        "which layers' scale and shift move: those of BatchNorm, or also of Group-, Layer- and InstanceNorm",
        source="authors' code: BatchNorm; `any` for backbones without it",
    )


class Tent(Adapter):
    """Entropy minimisation over the affine parameters of the normalisation layers."""

    name: ClassVar[str] = "tent"
    Options: ClassVar[type[Options]] = TentOptions
    original: ClassVar[Hparams] = Hparams(
        "authors' code, ImageNet-C and CIFAR: Adam, one step a batch (of 200)",
        Optimiser(optimiser="adam", lr=1e-3, beta1=0.9, weight_decay=0.0),
        steps=1,
    )
    card: ClassVar[Card] = Card(
        title="TENT: test-time entropy minimisation",
        paper="Wang et al., Tent: fully test-time adaptation by entropy minimization, ICLR 2021",
        source="nothing of its own; Base's source model",
        moves="scale and shift of every BatchNorm layer",
        forwards=1,
        backwards=1,
        sizes="any",
        quirks=(
            "The authors return the outputs of the last adapting forward, those before the last update: y(k - 1) here.",
            "The authors delete the running statistics; here the layers ignore them, so that a reset can put all back.",
        ),
    )

    def needs(self) -> Needs:
        return Needs(tasks=frozenset({"semseg"}), batchnorm=self.options.affine == "bn")

    def bind(self, net: Net, statistics: Mapping[str, Tensor]) -> Plan:
        # subclasses count: timm has BatchNorm fused with an activation
        kinds: tuple[type[nn.Module], ...] = (_BatchNorm,)
        if self.options.affine == "any":
            kinds += (nn.GroupNorm, nn.LayerNorm, _InstanceNorm)
        moves = tuple(
            f"model.{layer}.{parameter}"
            for layer, module in net.model.named_modules()
            if isinstance(module, kinds)
            for parameter, _ in module.named_parameters(recurse=False)
        )
        if not moves:
            raise BenchError("tent: the network has no normalisation layer with a scale and a shift to move")
        return Plan(moves=moves, adapt=Norm.BATCH, predict=Norm.BATCH, exact=True)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        predictions = net.model(images)
        return StepOut({"entropy": entropy_loss(predictions["semseg"])}, predictions)
