"""SAR: sharpness-aware and reliable entropy minimisation.

Niu et al., "Towards stable test-time adaptation in dynamic wild world", ICLR 2023. With h the
entropy of the segmentation logits at a pixel, theta the scales and shifts that move, and
E = margin ln K for K classes:

    L1 = mean of h over the pixels with h < E,          g = gradient of L1 at theta
    e = rho g / (|g| + 1e-12)                           (one norm over all of theta)
    L2 = mean of h at theta + e over the pixels with h < E at theta and at theta + e

The gradient of L2 at theta + e updates theta. A moving average of L2 that falls below a threshold
is taken for a collapse: then theta returns to the source's values. The layers normalise with the
statistics of the batch.

In the dense port a sample is a pixel, and the threshold is relative to ln K.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    Hparams,
    Needs,
    Norm,
    Optimiser,
    Options,
    Passes,
    Plan,
    Quirk,
    StepOut,
    Target,
    option,
)
from ttt_bench.errors import BenchError
from ttt_bench.losses import mean_over, softmax_entropy
from ttt_bench.model import AFFINE_NORMS, affine_parameters
from ttt_bench.network import STAGES, Net, Network

Weights = dict[str, Tensor]
Number = TypeVar("Number", float, Tensor)
"""A number, or a tensor of shape ()."""


def perturbation(gradients: Sequence[Tensor], rho: float = 0.05) -> list[Tensor]:
    """Return rho g / (|g| + 1e-12) for every gradient g, with one norm over all of them."""
    found = [gradient.detach() for gradient in gradients]
    norm = torch.stack([gradient.norm() for gradient in found]).norm()
    return [rho * gradient / (norm + 1e-12) for gradient in found]


def reliable_in_both(
    first: Tensor, second: Tensor, margin: float, valid: Tensor | None = None
) -> Tensor:
    """Return where the entropy of both logits (B, K, H, W) is below `margin`, (B, H, W) bool.

    Args:
        first: logits of the first pass.
        second: logits of the second pass.
        margin: limit of the entropy, in nats.
        valid: (B, 1, H, W) bool, the pixels that may be selected; None for all.
    """
    low = [softmax_entropy(logits.detach()) < margin for logits in (first, second)]
    both = low[0] & low[1]
    return both if valid is None else both & valid[:, 0]


def second_loss(
    first: Tensor, second: Tensor, margin: float, valid: Tensor | None = None
) -> Tensor:
    """Return the mean entropy of `second` over `reliable_in_both` (scalar); 0 without any."""
    return mean_over(softmax_entropy(second), reliable_in_both(first, second, margin, valid))


def moving_average(
    average: Number, loss: Number, kept: Number, threshold: float = 0.2, momentum: float = 0.9
) -> tuple[Number, bool | Tensor]:
    """Return the new average, and whether it is below the threshold (a bool of shape ()).

    Args:
        average: the old average; 0 before the first loss.
        loss: loss of the second pass; the first one is the average.
        kept: number of pixels in the loss; 0 leaves the average as it is.
        threshold: limit of the average.
        momentum: weight of the old average.
    """
    share = 1 - momentum * (average != 0)
    average = average + (kept > 0) * share * (loss - average)
    return average, (average != 0) & (average < threshold)


def sharpness_aware_loss(
    forward: Callable[[Tensor, Weights], Tensor],
    parameters: Weights,
    images: Tensor,
    margin: float,
    *,
    rho: float = 0.05,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the logits (B, K, H, W) at `parameters`, and the loss at the perturbed ones (scalar).

    The loss's gradient with respect to `parameters` is that at the perturbed point.

    Args:
        forward: (images, parameters) -> logits, functional in the parameters; called twice.
        parameters: name -> leaf.
        images: (B, 3, H, W).
        margin: limit of the entropy, in nats.
        rho: length of the perturbation.
        valid: (B, 1, H, W) bool, the pixels that may be selected; None for all.
    """
    logits = forward(images, parameters)
    gradients = torch.autograd.grad(
        second_loss(logits, logits, margin, valid),
        list(parameters.values()),
        materialize_grads=True,
    )
    moved = zip(parameters.items(), perturbation(gradients, rho), strict=True)
    perturbed = {name: value + step for (name, value), step in moved}
    return logits, second_loss(logits, forward(images, perturbed), margin, valid)


class SarOptions(Options):
    """Options of `Sar`."""

    margin: float = option(
        0.4, "largest entropy of a reliable pixel, times ln(classes)", citation="eq. 2", gt=0
    )
    rho: float = option(
        0.05, "length of the perturbation of the weights", citation="authors' code", gt=0
    )
    reset: float = option(
        0.029,
        "average of the loss, times ln(classes), below which the source's weights are restored; "
        "0: never",
        citation="authors' code: 0.2 at 1,000 classes, which is 0.029 ln(1000)",
        ge=0,
    )
    reset_absolute: float | None = option(
        None, "the limit of the average itself, in place of reset", citation="this project", gt=0
    )
    average: float = option(
        0.9, "weight of the old average of the loss", citation="authors' code", ge=0, lt=1
    )
    stages: int = option(
        3,
        "last stage whose scales and shifts move",
        citation="authors' code: without the top, layer4 of ResNets",
        ge=1,
        le=STAGES,
    )
    clear_average: bool = option(
        default=True,
        description="whether the average begins again when the source's weights are restored",
        citation="this project, see the quirks",
    )
    reset_optimiser: bool = option(
        default=False,
        description="whether the optimiser forgets its momentum when the source's weights are "
        "restored",
        citation="authors' code: it does not",
    )


class SarModules(nn.Module):
    """The moving average () of the loss; 0 until a pixel is selected."""

    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(()))


@dataclass(frozen=True)
class Bound:
    """What `Sar.bind` keeps: name in the model -> the source's value of what moves."""

    source: Mapping[str, Tensor]


class Sar(Adapter[SarOptions, SarModules]):
    """Sharpness-aware minimisation of the reliable pixels' entropy, with recovery."""

    name: ClassVar[str] = "sar"
    Options: ClassVar[type[Options]] = SarOptions
    check_options: ClassVar[Mapping[str, float]] = {"margin": 1.1}  # random images: every pixel
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, ImageNet-C with ResNets: SGD, one step per batch (of 64; it "
        "scales the rate with smaller batches)",
        optimiser=Optimiser(lr=2.5e-4, momentum=0.9),
        steps=1,
    )
    card: ClassVar[Card] = Card(
        title="SAR: sharpness-aware and reliable entropy minimisation",
        paper="Niu et al., Towards Stable Test-Time Adaptation in Dynamic Wild World, ICLR 2023",
        source_training="nothing; uses Base's source model",
        moves="scale and shift of the normalisation layers of stages 1 to 3",
        sizes="any",
        architecture="adds no parameters, only the moving average of the loss",
        quirks=(
            Quirk(
                "classifies: a sample is an image",
                "a sample is a pixel, as its authors recommend for segmentation",
            ),
            Quirk(
                "ignores the threshold of its constructor; its loop contains 0.2, for 1,000 "
                "classes",
                "the threshold is relative to ln(classes), because the literal one is close to "
                "the loss before adaptation at few classes",
                "reset_absolute=0.2",
            ),
            Quirk(
                "clears the average when it restores the source's weights, and then overwrites it "
                "with the old one, so that it restores them at every step until the average is "
                "above the threshold",
                "the average begins again",
                "clear_average=false",
            ),
            Quirk("keeps the momentum when it restores the source's weights", "reproduced"),
            Quirk(
                "makes an optimiser step with zero gradients if no sample is reliable, so that "
                "the momentum moves the weights",
                "reproduced",
            ),
            Quirk(
                "finds the layers without the top by name (layer4, blocks.9 to blocks.11, norm)",
                "moves those that stage 3 depends on, in any backbone",
            ),
        ),
    )
    bound: Bound
    """Set by `bind`."""

    def needs(self) -> Needs:
        return Needs(tasks=frozenset({"semseg"}), affine=True)

    def build(self, model: Network, tasks: Mapping[str, int]) -> SarModules:
        return SarModules()

    def bind(self, net: Net[SarModules], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        own, below = (
            dict(net.model.named_parameters()),
            set(net.model.upstream(self.options.stages)),
        )
        names = [name for name in affine_parameters(net.model, AFFINE_NORMS) if name in below]
        if not names:
            raise BenchError(
                f"sar.stages = {self.options.stages} finds no normalisation layer in these stages; "
                "raise it"
            )
        self.bound = Bound({name: own[name].detach().clone() for name in names})
        moves = tuple(f"model.{name}" for name in names)
        return Plan(moves=moves, adapt=Norm.BATCH, predict=Norm.BATCH, exact=True)

    def passes(self, batch: int) -> Passes:
        return Passes(2 * batch, 2 * batch)

    def step(self, net: Net[SarModules], images: Tensor, ctx: Context) -> StepOut:
        options, classes = self.options, math.log(net.model.tasks["semseg"])
        margin, outputs = options.margin * classes, list[dict[str, Tensor]]()

        def forward(x: Tensor, weights: Weights) -> Tensor:
            outputs.append(functional_call(net.model, weights, (x,)))
            return outputs[-1]["semseg"]

        own = dict(net.model.named_parameters())
        leaves: Weights = {name: own[name] for name in self.bound.source}
        logits, loss = sharpness_aware_loss(
            forward, leaves, images, margin, rho=options.rho, valid=ctx.valid
        )
        kept = reliable_in_both(logits, outputs[1]["semseg"], margin, ctx.valid).sum()
        limit = options.reset_absolute or options.reset * classes
        average, restore = moving_average(
            net.extra.average, loss.detach(), kept, limit, options.average
        )
        net.extra.average.copy_(average)
        ctx.batch["restore"] = torch.as_tensor(restore)
        return StepOut({"entropy": loss}, outputs[0])

    def after_step(self, net: Net[SarModules], images: Tensor, ctx: Context) -> None:
        restore, own = ctx.batch["restore"], dict(net.model.named_parameters())
        for name, source in self.bound.source.items():
            own[name].copy_(torch.where(restore, source, own[name]))
        if self.options.clear_average:
            net.extra.average.masked_fill_(restore, 0)
        if self.options.reset_optimiser:
            ctx.reset_optimiser(restore)
