"""MEMO: marginal entropy minimisation with one image.

Zhang et al., "MEMO: test time robustness via adaptation and augmentation", NeurIPS 2022. The image
is shown in N random views. With z_n the segmentation's logits on view n, at the place of the
image's pixels,

    p = 1/N sum_n softmax(z_n),        L = mean over pixels of - sum_c p_c log p_c

is minimised over the backbone and the segmentation's head. The network then predicts the image
itself, and begins again from the source model with the next image. BatchNorm normalises with
(1 - a) source + a batch, a = 1 / (prior + 1), where the batch is the N views during a step and the
one image during prediction.

The views are those of AugMix (Hendrycks et al., ICLR 2020) without its geometric operations, whose
outputs could not be aligned exactly, and with a mirror that is undone on the logits. All views go
through the network in one pass, because their mean couples them and so do batch statistics: the
step needs the memory of a training step on N images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

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
from ttt_bench.model import mixed_statistics, parameters_of_task
from ttt_bench.network import Net

CHAINS, DEPTH = 3, 3
"""Chains of operations per view, and the largest number of operations of a chain."""
LEVELS = 255
"""The brightest value of an image of 8 bits."""
VIEW_DRAWS = 2 + CHAINS * (2 + 2 * DEPTH)
"""Uniform numbers per view."""


def marginal_entropy(views: Tensor) -> Tensor:
    """Return the entropy in nats of the views' mean prediction, averaged over images and pixels.

    Args:
        views: aligned logits (N, B, C, H, W) of N views.
    """
    # (N, B, C, H, W) -> (B, C, H, W)
    log_mean = views.log_softmax(dim=2).logsumexp(dim=0) - math.log(len(views))
    return -(log_mean.exp() * log_mean).sum(dim=1).mean()


def prior_share(strength: float) -> float:
    """Return the weight of the batch if the source's statistics count for `strength` batches."""
    return 1 / (strength + 1)


def prior_batch_norm(
    features: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    strength: float = 16,
    eps: float = 1e-5,
) -> Tensor:
    """Return what a BatchNorm layer computes under `Norm.MIX` with the share of a prior.

    The statistics have no gradient.

    Args:
        features: inputs (B, C, H, W).
        mean: the source's mean (C,).
        var: the source's variance (C,).
        weight: scale (C,).
        bias: shift (C,).
        strength: the prior.
        eps: added to the variance.
    """
    mixed = mixed_statistics(features, mean, var, prior_share(strength))
    return F.batch_norm(features, *mixed, weight, bias, eps=eps)


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel of images (M, 3, H, W) to [0, 1]; a constant channel stays."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low), images)


def equalise(images: Tensor) -> Tensor:
    """Give the 8-bit values of each channel of images (M, 3, H, W) a flat distribution.

    A value becomes the share of darker pixels; the darkest becomes 0 and the brightest 1. A
    constant channel stays.
    """
    levels = (images * LEVELS).round().long().flatten(2)  # (M, 3, H W)
    counts = levels.new_zeros(*levels.shape[:2], LEVELS + 1)
    counts.scatter_add_(2, levels, torch.ones_like(levels))
    below = counts.cumsum(dim=2) - counts  # (M, 3, LEVELS + 1)
    darker = below.gather(2, levels).to(images).view_as(images)
    most = darker.amax(dim=(2, 3), keepdim=True)
    return torch.where(most > 0, darker / most, images)


def posterise(images: Tensor) -> Tensor:
    """Keep the 4 highest of 8 bits of each value."""
    return ((images * LEVELS).round() / 16).floor() * 16 / LEVELS


def solarise(images: Tensor, level: Tensor) -> Tensor:
    """Invert the values from 1 - s on, with s from 0.01 to 0.1 as `level` (M,) is from 0 to 1."""
    limit = 1 - (0.01 + 0.09 * level.view(-1, 1, 1, 1))
    return torch.where(images < limit, images, 1 - images)


def augmix(images: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return one view of each image, and whether it is mirrored: (M, 3, H, W), (M,) bool.

    A view is a random mean of the image and of a mixture of three chains of one to three
    operations.

    Args:
        images: (M, 3, H, W) in [0, 1].
        draws: (M, VIEW_DRAWS) uniform in [0, 1).
    """
    draws = draws.to(images.dtype)
    mirrored, kept = draws[:, 0] < 0.5, draws[:, 1].view(-1, 1, 1, 1)
    images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
    # (M, CHAINS (2 + 2 DEPTH)) -> CHAINS of (M, 2 + 2 DEPTH)
    chains = draws[:, 2:].unflatten(1, (CHAINS, -1)).unbind(1)
    # shares of a Dirichlet distribution are exponential draws, divided by their sum
    weights = torch.stack([-torch.log1p(-chain[:, 0]) for chain in chains])
    weights = (weights / weights.sum(dim=0)).view(CHAINS, -1, 1, 1, 1)
    mixture = torch.stack([_chained(images, chain[:, 1:]) for chain in chains])
    return kept * images + (1 - kept) * (weights * mixture).sum(dim=0), mirrored


def _chained(images: Tensor, draws: Tensor) -> Tensor:
    """Return images (M, 3, H, W) after one to three operations, by draws (M, 1 + 2 DEPTH)."""
    length = (draws[:, 0] * DEPTH).floor().view(-1, 1, 1, 1)
    images_of = torch.arange(len(images), device=images.device)
    for number in range(DEPTH):
        which, level = draws[:, 1 + 2 * number], draws[:, 2 + 2 * number]
        results = torch.stack(
            [autocontrast(images), equalise(images), posterise(images), solarise(images, level)]
        )
        # (4, M, 3, H, W) -> (M, 3, H, W)
        chosen = results[(which * len(results)).long(), images_of]
        images = torch.where(number <= length, chosen, images)
    return images


class MEMOOptions(Options):
    """Options of `MEMO`."""

    views: int = option(
        32,
        "views per image and step",
        citation="authors' code: 32 on CIFAR, 64 on ImageNet",
        ge=1,
        le=1024,
    )
    prior: float = option(
        16,
        "weight of the source's BatchNorm statistics, relative to 1 for those of the batch",
        citation="authors' code",
        ge=0,
    )
    shared: bool = option(
        default=False,
        description="whether one network adapts to all images of a batch together; this is "
        "another method than the paper's, which takes one image at a time",
        citation="this project",
    )


class MEMO(Adapter[MEMOOptions, None]):
    """Minimisation of the entropy of the mean prediction on views."""

    name: ClassVar[str] = "memo"
    Options: ClassVar[type[Options]] = MEMOOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, ImageNet, ResNet-50: SGD, one step per image (CIFAR: 0.005, 32 "
        "views; ResNeXt and RVT: AdamW 1e-5, weight decay 0.01)",
        optimiser=Optimiser(lr=2.5e-4),
        steps=1,
        options={"views": 64},
    )
    card: ClassVar[Card] = Card(
        title="MEMO: marginal entropy minimisation with one image",
        paper="Zhang et al., MEMO: Test Time Robustness via Adaptation and Augmentation, NeurIPS "
        "2022",
        source_training="nothing; uses Base's source model",
        moves="the backbone and the segmentation's head",
        sizes="any; a step needs the memory of a training step on all views of an image",
        quirks=(
            Quirk(
                "crops every view at random and rotates, shears and shifts it",
                "mirrors it and changes its colours, which can be undone exactly on dense outputs",
            ),
            Quirk(
                "adapts with 64 views on ImageNet and 32 on CIFAR",
                "32 by default",
                "views=64",
            ),
            Quirk(
                "replaces the forward pass of all BatchNorm2d layers of the process",
                "mixes the statistics of the network's own layers",
            ),
            Quirk(
                "uses the source's statistics alone if the prior is negative",
                "a large prior comes as near to them as wanted",
                "prior=1000000",
            ),
            Quirk(
                "keeps the optimiser's state from image to image, which matters to AdamW",
                "restores it with the weights",
            ),
        ),
    )

    def needs(self) -> Needs:
        tasks = frozenset({"semseg"})
        if self.options.shared:
            return Needs(tasks=tasks)
        return Needs(tasks=tasks, protocols=frozenset({"episodic"}), batch=1)

    def bind(self, net: Net[None], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return Plan(
            moves=tuple(f"model.{name}" for name in parameters_of_task(net.model, "semseg")),
            adapt=Norm.MIX,
            predict=Norm.MIX,
            exact=False,
            share=prior_share(self.options.prior),
        )

    def passes(self, batch: int) -> Passes:
        return Passes(self.options.views * batch, self.options.views * batch)

    def step(self, net: Net[None], images: Tensor, ctx: Context) -> StepOut:
        count, batch = self.options.views, len(images)
        draws = ctx.stream("views").rand(count * batch, VIEW_DRAWS)
        views, mirrored = augmix(images.repeat(count, 1, 1, 1), draws)
        logits = net.model(views)["semseg"]
        aligned = torch.where(mirrored.view(-1, 1, 1, 1), logits.flip(-1), logits)
        # (N B, C, H, W) -> (N, B, C, H, W)
        return StepOut({"marginal": marginal_entropy(aligned.unflatten(0, (count, batch)))}, None)
