"""TTT++: contrastive test-time training with online feature alignment.

Liu et al., "TTT++: when does self-supervised test-time training fail or thrive?", NeurIPS 2021.
Two random views are made of every image. With z the unit projections, i+ the other view of i, and
T_0 = 0.07 as in the authors' code, the source is trained jointly with, and the target is adapted
by, the loss of SimCLR

    L_con = - T / T_0 mean over i of log [ exp(z_i z_i+ / T) / sum over j != i of exp(z_i z_j / T) ]

The target's features f are also aligned with the source's, by their covariance S and their mean m,

    L_f = scale_f [ CORAL(S_source, S_target) / CORAL_0 + c MMD(m_source, m_target) / MMD_0 ]
    CORAL(S, S') = |S - S'|_F^2 / (4 D^2),        MMD(m, m') = mean over d of (m_d - m'_d)^2

for the encoder's feature (ext) and the projection (ssh, not normalised here). CORAL_0 and MMD_0 are
these divergences between batches of the source. A queue can add the features of earlier batches to
those of the batch.

In the dense port, the encoder's feature is the mean of the hypercolumn over all positions. The
projection's input is the hypercolumn averaged in 8 x 8 cells. Views are made on the device, for
each image separately; `_tttpp_views.py` describes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, cast

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    EmaOptions,
    Hparams,
    Needs,
    Norm,
    Optimiser,
    Options,
    Passes,
    Phase,
    Plan,
    Quirk,
    SourcePass,
    SourceStep,
    StepOut,
    Target,
    option,
)
from ttt_bench.methods._tttpp_alignment import (
    Accumulator,
    Statistics,
    coral_loss,
    covariance,
    mean,
    mmd_loss,
    source_statistics,
)
from ttt_bench.methods._tttpp_features import Queue, contrastive_loss, pooled_grid
from ttt_bench.methods._tttpp_views import VIEW_DRAWS, random_view
from ttt_bench.network import Net, Network

__all__ = [
    "TTTPlusPlus",
    "TTTPlusPlusModules",
    "TTTPlusPlusOptions",
    "contrastive_loss",
    "coral_loss",
    "covariance",
    "mmd_loss",
    "source_statistics",
]

INFERRED = "inferred from the published number of parameters"
SOURCE_TEMPERATURE = 0.5
FEATURES = ("ext", "ssh")
"""The encoder's feature and the projection, as the authors' code names them."""


class TTTPlusPlusOptions(EmaOptions):
    """Options of `TTTPlusPlus`."""

    use: Literal["both", "ssl", "align"] = option(
        "both",
        "loss: ssl (contrastive), align (alignment), or both",
        citation="authors' code",
    )
    divergence: Literal["all", "coral", "mmd"] = option(
        "all",
        "compared statistics of the alignment: coral (covariances), mmd (means), or all",
        citation="authors' code",
    )
    temperature: float = option(
        0.5,
        "temperature T of the contrastive loss during adaptation (0.5 on the source)",
        citation="authors' code",
        gt=0,
    )
    scale_ext: float = option(
        0.5,
        "factor of the alignment of the encoder's feature; 0 omits it",
        citation="authors' code, its default",
        ge=0,
    )
    scale_ssh: float = option(
        0.2, "factor of the alignment of the projection; 0 omits it", citation="authors' code", ge=0
    )
    mmd_factor: float = option(
        0.5, "factor c of the means' divergence", citation="authors' code", gt=0
    )
    queue_size: int = option(
        0,
        "number of earlier images whose features are added to those of the batch",
        citation="authors' defaults",
        ge=0,
        le=4096,
    )
    stat_batch: int = option(
        8,
        "source images per batch; recommended: target batch plus queue",
        citation="this project",
        ge=2,
    )
    stat_images: int = option(
        4096, "largest number of source images for the statistics", citation="this project", ge=6
    )
    head_pool: int = option(
        8,
        "cells per side in which the hypercolumn is averaged",
        citation=INFERRED,
        shapes_source=True,
        ge=1,
    )
    head_hidden: int = option(
        512, "width of the head's hidden layer", citation=INFERRED, shapes_source=True, ge=1
    )
    head_out: int = option(
        32, "width of the projection", citation=INFERRED, shapes_source=True, ge=1
    )
    fix_head: bool = option(
        default=True,
        description="whether the projection is frozen during adaptation",
        citation="authors' scripts",
    )

    @property
    def contrasts(self) -> bool:
        """Whether the contrastive loss is part of the objective."""
        return self.use != "align"

    @property
    def scales(self) -> dict[str, float]:
        """Aligned features -> their factors."""
        scales = dict(zip(FEATURES, (self.scale_ext, self.scale_ssh), strict=True))
        return {name: scale for name, scale in scales.items() if scale and self.use != "ssl"}

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if not self.contrasts and not self.scales:
            raise ValueError(
                "tttpp.use = align needs tttpp.scale_ext or tttpp.scale_ssh above 0, otherwise the "
                "loss is empty; raise one of them or use tttpp.use = both"
            )
        if self.queue_size and not self.scales:
            raise ValueError(
                f"tttpp.queue_size = {self.queue_size} has no effect without an alignment; set it "
                "to 0, or tttpp.use to both or align with tttpp.scale_ext or tttpp.scale_ssh "
                "above 0"
            )
        if self.stat_images < 3 * self.stat_batch:
            raise ValueError(
                f"tttpp.stat_images = {self.stat_images} must be at least three times "
                f"tttpp.stat_batch = {self.stat_batch}: the first batch is only a reference for "
                "the others"
            )
        return self


class TTTPlusPlusModules(nn.Module):
    """Modules of TTT++: the projection of a hypercolumn, and a queue per feature if requested.

    Args:
        options: options of the method.
        channels: channels of the hypercolumn.
    """

    def __init__(self, options: TTTPlusPlusOptions, channels: int) -> None:
        super().__init__()
        self.cells = options.head_pool
        self.head = nn.Sequential(
            nn.Linear(channels * options.head_pool**2, options.head_hidden),
            nn.ReLU(),
            nn.Linear(options.head_hidden, options.head_out),
        )
        widths = dict(zip(FEATURES, (channels, options.head_out), strict=True))
        length = options.queue_size
        queues = {name: Queue(length, width) for name, width in widths.items() if length}
        self.queues = nn.ModuleDict(queues)

    def queue(self, name: str) -> Queue:
        """Return the queue of a feature."""
        return cast(Queue, self.queues[name])

    def project(self, stages: Sequence[Tensor]) -> Tensor:
        """Return the projection (B, head_out) of the stages, not normalised."""
        # (B, C, cells, cells) -> (B, C cells^2) -> (B, head_out)
        return self.head(pooled_grid(stages, self.cells).flatten(1))


@dataclass(frozen=True)
class Bound:
    """What `TTTPlusPlus.bind` keeps: aligned feature -> statistics of the source."""

    source: Mapping[str, Statistics]


class TTTPlusPlus(Adapter[TTTPlusPlusOptions, TTTPlusPlusModules]):
    """Adaptation by contrasting views and aligning features with the source's."""

    name: ClassVar[str] = "tttpp"
    Options: ClassVar[type[Options]] = TTTPlusPlusOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, CIFAR-10 script: SGD, batches of 256 (CIFAR-100: 1e-4, scale_ext "
        "5, scale_ssh 20); 40 steps replace its up to 500 passes over the target. scale_ext and "
        "queue_size stay at the defaults of its arguments, see the quirks",
        optimiser=Optimiser(lr=1e-2, momentum=0.9),
    )
    card: ClassVar[Card] = Card(
        title="TTT++: contrastive test-time training with feature alignment",
        paper="Liu et al., TTT++: When Does Self-Supervised Test-Time Training Fail or Thrive?, "
        "NeurIPS 2021",
        source_training="the shared network jointly with a projection head, which sees two views "
        "per image in a second forward pass",
        moves="the backbone",
        sizes="any: the hypercolumn is averaged in 8 x 8 cells, which changes the aspect ratio",
        architecture="inferred from the published number of parameters",
        quirks=(
            Quirk(
                "halves the learning rate and stops early by the target's test error",
                "labels are never read",
            ),
            Quirk(
                "moves only BatchNorm's statistics in its first two passes over the target, and "
                "minimises the contrastive loss alone in the first one that moves weights",
                "not reproduced: every step moves weights and minimises the whole loss",
            ),
            Quirk(
                "computes the source's statistics from randomly cropped and mirrored images, but "
                "aligns target images that are not augmented",
                "does not augment either",
            ),
            Quirk(
                "scales L_ext by 0.05 in its CIFAR-10 script and by 0.5 by default",
                "scales it by 0.5",
                "scale_ext=0.05",
            ),
            Quirk(
                "aligns another batch than the one whose views it contrasts, with one forward pass "
                "per feature",
                "uses one batch, and one forward pass for both features",
            ),
            Quirk(
                "adds the features of a queue to those of a batch in its CIFAR scripts (1536 and "
                "2048 rows with the batch), once the queue is full, and pushes to it at every step",
                "off by default, as are its arguments; a batch is pushed once, after its last "
                "step, and the queue is used from its first row on",
                "queue_size=1280",
            ),
        ),
    )

    def needs(self) -> Needs:
        return Needs(min_batch=2)

    def build(self, model: Network, tasks: Mapping[str, int]) -> TTTPlusPlusModules:
        return TTTPlusPlusModules(self.options, sum(model.channels))

    # -- source training

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="joint", trains=("model", "extra")),)

    def source_loss(self, step: SourceStep[TTTPlusPlusModules]) -> dict[str, Tensor]:
        return {"contrastive": _contrast(step.net, step.batch.images, step.ctx, SOURCE_TEMPERATURE)}

    def source_pass(self) -> SourcePass | None:
        if not self.options.scales:
            return None
        return SourcePass(images=self.options.stat_images, batch=self.options.stat_batch)

    def source_statistics(
        self, net: Net[TTTPlusPlusModules], images: Iterable[Tensor], ctx: Context
    ) -> dict[str, Tensor]:
        # of both features, because they are stored for runs with other factors too
        found = {name: Accumulator() for name in FEATURES}
        for batch in images:
            for name, features in _features(net, net.model.stages(batch), FEATURES).items():
                found[name].add(features)
        statistics = {}
        for name, accumulator in found.items():
            for field, tensor in accumulator.result()._asdict().items():
                statistics[f"{name}.{field}"] = tensor
        return statistics

    # -- test time

    bound: Bound
    """Set by `bind`."""

    def bind(
        self, net: Net[TTTPlusPlusModules], statistics: Mapping[str, Tensor], target: Target
    ) -> Plan:
        like = next(net.parameters())
        aligned = self.options.scales if statistics else ()
        self.bound = Bound({name: _source_of(name, statistics, like) for name in aligned})
        head = () if self.options.fix_head else ("extra.head.*",)
        return Plan(
            moves=("model.backbone.*", *head),
            adapt=Norm.EMA,
            predict=Norm(self.options.predict_norm),
            exact=self._exact,
        )

    def passes(self, batch: int) -> Passes:
        count = 2 * self.options.contrasts + bool(self.options.scales)
        return Passes(count * batch, count * batch)

    def step(self, net: Net[TTTPlusPlusModules], images: Tensor, ctx: Context) -> StepOut:
        losses, predictions = {}, None
        if self.options.contrasts:
            losses["contrastive"] = _contrast(net, images, ctx, self.options.temperature)
        if self.options.scales:
            stages = net.model.stages(images)
            losses |= self._align(net, stages)
            if self._exact:
                with torch.no_grad():
                    predictions = net.model.outputs(stages, images.shape[-2:])
        return StepOut(losses, predictions)

    def end_batch(self, net: Net[TTTPlusPlusModules], images: Tensor, ctx: Context) -> None:
        if not self.options.queue_size:
            return
        # normalised as in a step, but without another update of the statistics
        with ctx.norm(Norm.BATCH):
            stages = net.model.stages(images)
        for name, features in _features(net, stages, self.options.scales).items():
            net.extra.queue(name).push(features)

    @property
    def _exact(self) -> bool:
        """Whether a step's predictions are exact; without an alignment no step sees the batch."""
        return Norm(self.options.predict_norm) is Norm.BATCH and bool(self.options.scales)

    def _align(self, net: Net[TTTPlusPlusModules], stages: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the terms of L_f of every aligned feature."""
        options, losses = self.options, {}
        for name, features in _features(net, stages, options.scales).items():
            source, scale, kept = self.bound.source[name], options.scales[name], None
            if options.queue_size:
                features, kept = net.extra.queue(name).behind(features)
            if options.divergence != "mmd":
                coral = coral_loss(source.covariance, covariance(features, kept))
                losses[f"{name}_coral"] = scale * coral / source.coral_reference
            if options.divergence != "coral":
                mmd = mmd_loss(source.mean, mean(features, kept))
                losses[f"{name}_mmd"] = scale * options.mmd_factor * mmd / source.mmd_reference
        return losses


def _source_of(name: str, statistics: Mapping[str, Tensor], like: Tensor) -> Statistics:
    """Return the stored statistics of a feature, on the device and in the dtype of `like`."""
    return Statistics(*(statistics[f"{name}.{field}"].to(like) for field in Statistics._fields))


def _features(
    net: Net[TTTPlusPlusModules], stages: Sequence[Tensor], names: Iterable[str]
) -> dict[str, Tensor]:
    """Return the features `names` (B, D) of a batch: the encoder's, the projection, or both."""
    found = {"ext": net.model.pooled, "ssh": net.extra.project}
    return {name: found[name](stages) for name in names}


def _contrast(
    net: Net[TTTPlusPlusModules], images: Tensor, ctx: Context, temperature: float
) -> Tensor:
    """Return L_con of two views of each image, in one forward pass of 2 B images."""
    views = random_view(torch.cat([images, images]), ctx.rand(2 * len(images), VIEW_DRAWS))
    unit = F.normalize(net.extra.project(net.model.stages(views)), dim=1)
    # (2 B, D) -> (B, 2, D)
    return contrastive_loss(torch.stack(unit.chunk(2), dim=1), temperature)
