"""NC-TTT: features that a discriminator of noise levels classifies as clean.

Osowiechi et al., "NC-TTT: A Noise Contrastive Approach for Test-Time Training", CVPR 2024. With f
the projection of a stage's feature map (D channels), two noisy views are made at every position,

    u_1 = f + n_1,  n_1 ~ N(0, sigma_1^2 I)        u_2 = f + n_2,  n_2 ~ N(0, sigma_2^2 I),
    sigma_1 > sigma_2

A discriminator d is trained on the source, jointly with the supervised losses, to predict the
posterior that a view's noise n is of the first level:

    y(n) = sigmoid(1/2 (1/sigma_2^2 - 1/sigma_1^2) |n|^2 - D log(sigma_1 / sigma_2))
    source loss = mean binary cross-entropy of sigmoid(d(u)) and y(n)

To the discriminator, features that drift away from the source's look as if they had the larger
noise. On the target, the features without noise are moved towards the smaller level; projection and
discriminator are frozen:

    target loss = mean of -log(1 - sigmoid(d(f)))

Dense port: the modules of the authors' VisDA version (1x1 convolutions, one score per position) on
stage 2. The projection has 688 channels, the middle of the widths that give the published number of
parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    EmaOptions,
    Hparams,
    Norm,
    Optimiser,
    Options,
    Passes,
    Phase,
    Plan,
    Quirk,
    SourceStep,
    StepOut,
    Target,
    option,
)
from ttt_bench.network import STAGES, Net, Network


def batch_summed_noise(noise: Tensor) -> Tensor:
    """Return the sum of the noise over the batch for every sample, (B, D, h, w)."""
    # (B, D, h, w) -> (1, D, h, w) -> (B, D, h, w)
    return noise.sum(dim=0, keepdim=True).expand_as(noise)


def noise_labels(noise: Tensor, std_1: float, std_2: float) -> Tensor:
    """Return the posterior y(n) that noise has standard deviation `std_1`, not `std_2`.

    As in the authors' code, `std_1` is raised by 1e-6 in the quadratic term, and labels below 1e-6
    are set to 0.

    Args:
        noise: (N, D, h, w).
        std_1: the larger standard deviation.
        std_2: the smaller standard deviation.

    Returns:
        (N, h, w) in [0, 1].
    """
    # |n|^2 / sigma_2^2 leaves the range of float16
    wide = noise.to(torch.promote_types(noise.dtype, torch.float32))
    # |n|^2 over the channels: (N, D, h, w) -> (N, h, w)
    precisions = 1 / std_2**2 - 1 / (std_1 + 1e-6) ** 2
    z = 0.5 * precisions * wide.square().sum(dim=1) - noise.shape[1] * math.log(std_1 / std_2)
    labels = z.sigmoid()
    return torch.where(labels < 1e-6, torch.zeros_like(labels), labels).to(noise.dtype)


def noisy_views(features: Tensor, noise: Tensor) -> Tensor:
    """Return the views of both levels, (2B, D, h, w).

    Args:
        features: (B, D, h, w).
        noise: (2B, D, h, w), first level first.
    """
    return torch.cat([features, features]) + noise


def train_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean binary cross-entropy of sigmoid(scores) and labels (scalar).

    Args:
        scores: (N, 1, h, w).
        labels: (N, h, w) in [0, 1].
    """
    return F.binary_cross_entropy_with_logits(scores.squeeze(1), labels)


def test_loss(scores: Tensor) -> Tensor:
    """Return the mean of -log(1 - sigmoid(scores)) over scores (B, 1, h, w) (scalar)."""
    return F.softplus(scores).mean()


class NCTTTOptions(EmaOptions):
    """Options of `NCTTT`."""

    tap: Literal[1, 2, 3, 4, "hypercolumn"] = option(
        2,
        "feature map of the discriminator: a stage (1 to 4), or hypercolumn (all stages at the "
        "size of the first)",
        citation="decision of this project: S4T's Table 6 gives NC-TTT the shortest time of all",
        shapes_source=True,
    )
    embed: int = option(
        688,
        "channels of the projection",
        citation="inferred from S4T's count of parameters, which fits 679 to 697 (authors' code: "
        "1536)",
        shapes_source=True,
        ge=1,
    )
    sigma_1: float = option(
        0.1,
        "standard deviation of the larger noise",
        citation="authors' code",
        shapes_source=True,
        gt=0,
    )
    sigma_2: float = option(
        0.015,
        "standard deviation of the smaller noise",
        citation="authors' code",
        shapes_source=True,
        gt=0,
    )
    noise: Literal["independent", "batch_summed"] = option(
        "independent",
        "independent (each image has its own noise) or batch_summed (each image has the sum of the "
        "batch's noise)",
        citation="the paper's equations",
        shapes_source=True,
    )
    disc_norm: Literal["ema", "running"] = option(
        "ema",
        "normalisation of the discriminator's own BatchNorm during adaptation",
        citation="authors' code adapts in train mode",
    )

    whole: bool = option(
        default=False,
        description="whether a step also runs the layers behind the tap, without a gradient, so "
        "that the running statistics of the whole network are updated",
        citation="decision of this project: the published time implies a step that ends at the tap "
        "(authors' code: true)",
    )

    @model_validator(mode="after")
    def _levels_differ(self) -> Self:
        if self.sigma_1 <= self.sigma_2:
            raise ValueError(
                f"nc_ttt.sigma_1 = {self.sigma_1} must be larger than nc_ttt.sigma_2 = "
                f"{self.sigma_2}: the first level is the larger noise"
            )
        return self


class NoiseContrast(nn.Module):
    """Projection of a feature map and discriminator of noise levels, both 1x1 convolutions.

    Args:
        channels: channels of the feature map.
        embed: channels of the projection.
    """

    def __init__(self, channels: int, embed: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, embed, 1)
        self.discriminator = nn.Sequential(
            nn.Conv2d(embed, 4, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)


class NCTTT(Adapter[NCTTTOptions, NoiseContrast]):
    """Adaptation by moving features towards the smaller noise level."""

    name: ClassVar[str] = "nc_ttt"
    Options: ClassVar[type[Options]] = NCTTTOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code: Adam, 1e-5, 50 steps per batch of 128, weights and moments reset "
        "after each batch (--protocol episodic); its own loop takes SGD, see the quirks",
        optimiser=Optimiser(optimiser="adam", lr=1e-5),
        steps=50,
    )
    card: ClassVar[Card] = Card(
        title="NC-TTT: noise-contrastive test-time training",
        paper="Osowiechi et al., NC-TTT: A Noise Contrastive Approach for Test-Time Training, CVPR "
        "2024",
        source_training="the shared network jointly with the projection and the discriminator",
        moves="the backbone up to the tapped stage",
        sizes="any: the modules are 1x1 convolutions",
        architecture="official layers; widths inferred from the published number of parameters",
        quirks=(
            Quirk(
                "gives every image the noise summed over the batch, by a broadcasting error; the "
                "labels are made for single noise, so all of them are 1 for batches of about five "
                "or more images, and the discriminator has nothing to separate",
                "every image has its own noise",
                "noise=batch_summed",
            ),
            Quirk(
                "makes a new adapting optimiser for each batch in its comparison of step numbers, "
                "from the option meant for source training: SGD without momentum at 1e-5; "
                "elsewhere it is Adam and its moments are never reset",
                "--hparams original is Adam, reset according to the protocol",
                "optimiser=sgd",
            ),
            Quirk(
                "adapts with the discriminator in train mode, although it sees only features "
                "without noise",
                "reproduced",
                "disc_norm=ema",
            ),
            Quirk(
                "runs the whole network in train mode, so that the running statistics of all its "
                "layers are updated",
                "a step ends at the tapped stage, as the published time implies; deeper layers "
                "keep the source's statistics",
                "whole=true",
            ),
        ),
    )

    def build(self, model: Network, tasks: Mapping[str, int]) -> NoiseContrast:
        tap, channels = self.options.tap, model.channels
        width = sum(channels) if tap == "hypercolumn" else channels[tap - 1]
        return NoiseContrast(width, self.options.embed)

    # -- source training

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="joint", trains=("model", "extra")),)

    def source_loss(self, step: SourceStep[NoiseContrast]) -> dict[str, Tensor]:
        sigma_1, sigma_2 = self.options.sigma_1, self.options.sigma_2
        projected = self._project(step.net, step.stages)
        levels = [
            sigma * step.ctx.stream(name).normal_like(projected)
            for name, sigma in (("noise 1", sigma_1), ("noise 2", sigma_2))
        ]
        if self.options.noise == "batch_summed":
            levels = [batch_summed_noise(level) for level in levels]
        noise = torch.cat(levels)
        scores = step.net.extra.discriminator(noisy_views(projected, noise))
        return {"noise": train_loss(scores, noise_labels(noise, sigma_1, sigma_2))}

    # -- test time

    def bind(
        self, net: Net[NoiseContrast], statistics: Mapping[str, Tensor], target: Target
    ) -> Plan:
        net.extra.discriminator.train(self.options.disc_norm == "ema")
        moves = tuple(f"model.{name}" for name in net.model.upstream(self._last))
        predict = Norm(self.options.predict_norm)
        exact = self.options.whole and predict is Norm.BATCH
        return Plan(moves=moves, adapt=Norm.EMA, predict=predict, exact=exact)

    def passes(self, batch: int) -> Passes:
        return Passes(batch, batch, STAGES if self.options.whole else self._last)

    def step(self, net: Net[NoiseContrast], images: Tensor, ctx: Context) -> StepOut:
        stages = net.model.stages(images, STAGES if self.options.whole else self._last)
        losses = {"noise": test_loss(net.extra.discriminator(self._project(net, stages)))}
        if not self.options.whole:
            return StepOut(losses, None)
        with torch.no_grad():
            return StepOut(losses, net.model.outputs(stages, images.shape[-2:]))

    # -- both

    @property
    def _last(self) -> int:
        """Last stage that the tapped features need."""
        return STAGES if self.options.tap == "hypercolumn" else self.options.tap

    def _project(self, net: Net[NoiseContrast], stages: Sequence[Tensor]) -> Tensor:
        """Return the projected features f, (B, D, h, w)."""
        projection = net.extra.projection
        if self.options.tap == "hypercolumn":
            return net.model.project(stages, projection.weight, projection.bias)
        return projection(stages[self.options.tap - 1])
