"""EATA: efficient anti-forgetting test-time adaptation.

Niu et al., "Efficient test-time model adaptation without forgetting", ICML 2022. With p the softmax
of the segmentation logits at a pixel, h its entropy, K the number of classes and m a moving average
of p, a pixel is kept if it is reliable and not redundant:

    h < E = margin ln K     and     |cos(m, p)| < d = redundancy / sqrt(K)

The scale and shift theta of every BatchNorm layer minimise, with the mean over kept pixels,

    L = mean of w h + beta sum_j F_j (theta_j - theta0_j)^2,     w = exp(E - h), a constant

where theta0 are the source's values. F is the diagonal of the Fisher information: the mean over
batches of source images of g^2, with g the gradient of the cross-entropy between the logits and
their own argmax. A step that keeps no pixel makes no update. The layers normalise with the
statistics of the batch.

In the dense port a sample is a pixel. 1 / sqrt(K) is a certain pixel's cosine with a flat m.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

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
    Plan,
    Quirk,
    SourcePass,
    StepOut,
    Target,
    option,
)
from ttt_bench.losses import cross_entropy, mean_over, softmax_entropy
from ttt_bench.model import AFFINE_NORMS, BATCH_NORMS, affine_parameters
from ttt_bench.network import Net, Network

Weights = dict[str, Tensor]


def reliable_mask(logits: Tensor, margin: float) -> Tensor:
    """Return where the entropy in nats is below `margin`, (B, K, H, W) -> (B, H, W) bool."""
    return softmax_entropy(logits.detach()) < margin


def redundancy_filter(
    logits: Tensor, reliable: Tensor, average: Tensor, margin: float, momentum: float = 0.9
) -> tuple[Tensor, Tensor]:
    """Return the kept pixels (B, H, W) bool, and the new average (K,).

    Args:
        logits: (B, K, H, W).
        reliable: (B, H, W) bool; only these pixels may be kept.
        average: (K,), the average of the softmax so far; zeros before the first one. Then every
            reliable pixel is kept, because its cosine is 0.
        margin: limit of the absolute cosine between a pixel's softmax and the average.
        momentum: weight of the old average. The new one is the kept pixels' mean if there is no
            old one, and the old one if no pixel is kept.
    """
    probabilities = logits.detach().softmax(dim=1)
    norms = probabilities.norm(dim=1).clamp(min=1e-8) * average.norm().clamp(min=1e-8)
    # (B, K, H, W), (K,) -> (B, H, W)
    cosines = torch.einsum("bkhw,k->bhw", probabilities, average) / norms
    kept = reliable & (cosines.abs() < margin)
    total = torch.einsum("bkhw,bhw->k", probabilities, kept.to(probabilities.dtype))
    mean = total / kept.sum().clamp(min=1)
    moved = torch.where(average.any(), momentum * average + (1 - momentum) * mean, mean)
    return kept, torch.where(kept.any(), moved, average)


def sample_weights(entropies: Tensor, margin: float) -> Tensor:
    """Return the weights exp(margin - entropy), of any shape, without a gradient."""
    return (margin - entropies.detach()).exp()


def filtered_loss(logits: Tensor, kept: Tensor, margin: float) -> Tensor:
    """Return the weighted entropy, averaged over kept pixels (scalar); 0 if no pixel is kept.

    Args:
        logits: (B, K, H, W).
        kept: (B, H, W) bool.
        margin: the margin of `sample_weights`.
    """
    entropies = softmax_entropy(logits)
    return mean_over(sample_weights(entropies, margin) * entropies, kept)


def fisher_diagonal(
    forward: Callable[[Tensor, Weights], Tensor], parameters: Weights, batches: Iterable[Tensor]
) -> Weights:
    """Return the diagonal of the Fisher information of the parameters that act on the logits.

    It is the mean over batches of the squared gradient of a batch's mean cross-entropy. So it
    falls with the number of pixels per batch.

    Args:
        forward: (images, parameters) -> logits (B, K, H, W), functional in the parameters.
        parameters: name -> leaf.
        batches: batches of images, read once.
    """
    squares, count = dict[str, Tensor](), 0
    for images in batches:
        with torch.enable_grad():
            logits = forward(images, parameters)
            loss = cross_entropy(logits, logits.detach().argmax(dim=1))
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                squares[name] = squares.get(name, torch.zeros_like(gradient)) + gradient**2
        count += 1
    return {name: square / count for name, square in squares.items()}


def fisher_penalty(
    parameters: Mapping[str, Tensor],
    fisher: Mapping[str, Tensor],
    anchor: Mapping[str, Tensor],
    weight: float,
) -> Tensor:
    """Return weight * the sum of fisher * (parameter - anchor)^2 over all elements (scalar)."""
    terms = [(fisher[name] * (parameters[name] - anchor[name]) ** 2).sum() for name in fisher]
    return weight * torch.stack(terms).sum()


class EataOptions(Options):
    """Options of `Eata`."""

    margin: float = option(
        0.4, "largest entropy of a reliable pixel, times ln(classes)", citation="eq. 3", gt=0
    )
    redundancy: float = option(
        1.26,
        "largest absolute cosine between a kept pixel and the average, times 1 / sqrt(classes)",
        citation="this project: 0.4 at 10 classes; authors: 0.4 on CIFAR-10, 0.05 (1.58 / sqrt K) "
        "on ImageNet",
        gt=0,
    )
    redundancy_absolute: float | None = option(
        None,
        "the largest absolute cosine itself, in place of redundancy",
        citation="this project",
        gt=0,
    )
    fisher_weight: float = option(
        2000.0,
        "weight beta of the distance to the source; 0 omits it and the pass over the source (the "
        "method is then the authors' ETA)",
        citation="authors' code, ImageNet",
        ge=0,
    )
    fisher_images: int = option(
        2000, "largest number of source images for F", citation="authors' code", ge=2
    )
    average: float = option(0.9, "weight of the old average", citation="authors' code", ge=0, lt=1)
    affine: Literal["bn", "any"] = option(
        "bn",
        "layers whose scale and shift move: bn (BatchNorm), or any (also Group-, Layer- and "
        "InstanceNorm)",
        citation="authors' code: BatchNorm; `any` for backbones without it",
    )


class EataModules(nn.Module):
    """The moving average (K,) of the kept pixels' softmax; zeros until a pixel is kept."""

    average: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(classes))


@dataclass(frozen=True)
class Bound:
    """What `Eata.bind` keeps: name -> Fisher information, and name -> the source's value."""

    fisher: Mapping[str, Tensor]
    anchor: Mapping[str, Tensor]


class Eata(Adapter[EataOptions, EataModules]):
    """Entropy of reliable and diverse pixels, with weights that are kept near the source's."""

    name: ClassVar[str] = "eata"
    Options: ClassVar[type[Options]] = EataOptions
    # random images: every pixel is kept
    check_options: ClassVar[Mapping[str, float]] = {"margin": 1.1, "redundancy_absolute": 1.1}
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, ImageNet-C: SGD, one step per batch (of 64). Its limit of the "
        "cosine, 0.05, is not used: at 7 classes it keeps no pixel in most batches",
        optimiser=Optimiser(lr=2.5e-4, momentum=0.9),
        steps=1,
    )
    card: ClassVar[Card] = Card(
        title="EATA: efficient anti-forgetting test-time adaptation",
        paper="Niu et al., Efficient Test-Time Model Adaptation without Forgetting, ICML 2022",
        source_training="nothing; uses Base's source model, and measures the Fisher information "
        "of what moves on source images",
        moves="scale and shift of every BatchNorm layer",
        sizes="any",
        architecture="adds no parameters, only the moving average of the softmax",
        quirks=(
            Quirk(
                "classifies: a sample is an image. As samples of a segmentation, the redundancy "
                "filter keeps no image after the first batch",
                "a sample is a pixel",
            ),
            Quirk(
                "limits the cosine by 0.05 at 1,000 classes and by 0.4 at 10",
                "the limit is relative to 1 / sqrt(classes)",
                "redundancy_absolute=0.05",
            ),
            Quirk(
                "takes F from 2,000 clean test images, in batches of 64",
                "takes it from source training images, in batches of 8. F is a squared mean over "
                "all pixels of a batch, so beta depends on their number",
            ),
            Quirk("keeps the moving average through its reset()", "a reset clears it"),
            Quirk(
                "has other defaults in its class (margin ln(1000) / 2 - 1, beta 50 or 2000)",
                "those of its script",
            ),
            Quirk("makes no update at all if no sample is kept", "reproduced"),
        ),
    )
    bound: Bound
    """Set by `bind`."""

    def needs(self) -> Needs:
        bn = self.options.affine == "bn"
        return Needs(tasks=frozenset({"semseg"}), batchnorm=bn, affine=not bn)

    def build(self, model: Network, tasks: Mapping[str, int]) -> EataModules:
        return EataModules(tasks["semseg"])

    def source_pass(self) -> SourcePass | None:
        if not self.options.fisher_weight:
            return None
        return SourcePass(images=self.options.fisher_images, batch=8)

    def source_statistics(
        self, net: Net[EataModules], images: Iterable[Tensor], ctx: Context
    ) -> dict[str, Tensor]:
        def forward(batch: Tensor, weights: Weights) -> Tensor:
            found: Tensor = functional_call(net.model, weights, (batch,))["semseg"]
            return found

        own, names = dict(net.model.named_parameters()), self._moves(net.model)
        leaves = {name: own[name].detach().requires_grad_() for name in names}
        with ctx.norm(Norm.BATCH):
            return fisher_diagonal(forward, leaves, images)

    def bind(self, net: Net[EataModules], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        own = dict(net.model.named_parameters())
        anchor = {name: own[name].detach().clone() for name in statistics}
        self.bound = Bound(statistics, anchor)
        moves = tuple(f"model.{name}" for name in self._moves(net.model))
        return Plan(moves=moves, adapt=Norm.BATCH, predict=Norm.BATCH, exact=True)

    def step(self, net: Net[EataModules], images: Tensor, ctx: Context) -> StepOut:
        options, state, predictions = self.options, net.extra, net.model(images)
        logits = predictions["semseg"]
        margin, redundancy = self._limits(logits.shape[1])
        reliable = reliable_mask(logits, margin)
        if ctx.valid is not None:
            reliable = reliable & ctx.valid[:, 0]
        kept, average = redundancy_filter(
            logits, reliable, state.average, redundancy, options.average
        )
        state.average.copy_(average)
        losses = {"entropy": filtered_loss(logits, kept, margin)}
        if beta := options.fisher_weight:
            own, bound = dict(net.model.named_parameters()), self.bound
            losses["fisher"] = fisher_penalty(own, bound.fisher, bound.anchor, beta)
        return StepOut(losses, predictions, update=kept.any())

    def _moves(self, model: Network) -> tuple[str, ...]:
        """Return the names in `model` of the scales and shifts that move."""
        return affine_parameters(
            model, BATCH_NORMS if self.options.affine == "bn" else AFFINE_NORMS
        )

    def _limits(self, classes: int) -> tuple[float, float]:
        """Return the limits of the entropy in nats and of the absolute cosine."""
        relative = self.options.redundancy / math.sqrt(classes)
        return self.options.margin * math.log(classes), self.options.redundancy_absolute or relative
