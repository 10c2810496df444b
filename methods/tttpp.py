"""TTT++: contrastive test-time training with online feature alignment.

Liu et al., "TTT++: when does self-supervised test-time training fail or thrive?", NeurIPS 2021. On
two random views of every image, with z the unit projections and i+ the other view of i, the source
is trained jointly with, and the target is adapted by,

    L_con = - T / T_0 mean over i of log [ exp(z_i z_i+ / T) / sum over j != i of exp(z_i z_j / T) ]
    (SimCLR)

with T_0 = 0.07, as in the authors' code.

The target's features f are also aligned with the source's, by their covariance S and their mean m,

    L_f = scale_f [ CORAL(S_source, S_target) / CORAL_0 + c MMD(m_source, m_target) / MMD_0 ]
    CORAL(S, S') = |S - S'|_F^2 / (4 D^2),        MMD(m, m') = mean over d of (m_d - m'_d)^2

for the encoder's feature (ext) and the projection (ssh, not normalised here); CORAL_0 and MMD_0 are
what these divergences are between batches of the source. A queue can add the features of earlier
batches to those of the batch.

The dense port takes as the encoder's feature the mean of the hypercolumn over all places, and
projects the hypercolumn averaged in 8 x 8 cells. Views are made on the device, every image by
itself: a random part of the image is enlarged to the image's size (0.2 to 1 of its area, at 3/4 to
4/3 of its aspect as far as that fits into the image), mirrored half of the time, its colours
jittered with probability 0.8 and taken away with 0.2. Brightness, contrast, saturation and hue are
jittered in this order, where torchvision draws an order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, Self, cast

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
    option,
)
from ttt_bench.errors import BenchError
from ttt_bench.model import linear_weights
from ttt_bench.network import Net, Network

INFERRED = "inferred from the published number of parameters"
SOURCE_TEMPERATURE = 0.5
VIEW_DRAWS = 11
"""Uniform numbers that a view is made of."""
FEATURES = ("ext", "ssh")
"""The encoder's feature and the projection, as the authors' code names them."""


def contrastive_loss(
    features: Tensor, temperature: float = 0.5, base_temperature: float = 0.07
) -> Tensor:
    """L_con, with every view an anchor once; features (B, 2, D) of unit length -> scalar."""
    anchors = features.transpose(0, 1).flatten(0, 1)
    numbers = torch.arange(len(anchors), device=features.device)
    itself = numbers[:, None] == numbers
    logits = (anchors @ anchors.T / temperature).masked_fill(itself, -math.inf)
    other_view = numbers.roll(len(features))
    return temperature / base_temperature * F.cross_entropy(logits, other_view)


def mean(features: Tensor, kept: Tensor | None = None) -> Tensor:
    """Mean (D,) of the rows (N, D) for which `kept` (N,) is 1 and not 0; of all without it."""
    if kept is None:
        return features.mean(dim=0)
    return kept @ features / kept.sum()


def covariance(features: Tensor, kept: Tensor | None = None) -> Tensor:
    """Unbiased covariance (D, D) of the same rows; leaving rows out so changes no shape."""
    centred = features - mean(features, kept)
    if kept is None:
        return centred.T @ centred / (len(features) - 1)
    return (centred * kept[:, None]).T @ centred / (kept.sum() - 1)


def coral_loss(covariance_source: Tensor, covariance_target: Tensor) -> Tensor:
    """Squared Frobenius distance of two covariances (D, D) over 4 D^2 (Sun and Saenko 2016)."""
    return (covariance_source - covariance_target).square().sum() / (
        4 * len(covariance_source) ** 2
    )


def mmd_loss(mean_source: Tensor, mean_target: Tensor) -> Tensor:
    """Mean squared difference of two means (D,): maximum mean discrepancy under a linear kernel."""
    return (mean_source - mean_target).square().mean()


class Statistics(NamedTuple):
    """What is kept of the source: covariance (D, D), mean (D,), and how far apart batches are
    (scalars).
    """

    covariance: Tensor
    coral_reference: Tensor
    mean: Tensor
    mmd_reference: Tensor


class Accumulator:
    """Folds batches of features (n, D) into `Statistics`, one at a time, with moments in double
    precision.
    """

    def __init__(self) -> None:
        self._first: tuple[Tensor, Tensor] | None = None
        self._divergences: list[Tensor] = []
        self._count = 0

    def add(self, features: Tensor) -> None:
        """Take a batch; the first one is only what the others are compared with."""
        own = covariance(features), mean(features)
        if self._first is None:
            self._first = own
            self._sum = torch.zeros_like(own[1], dtype=torch.float64)
            self._outer = torch.zeros_like(own[0], dtype=torch.float64)
            return
        self._divergences.append(
            torch.stack([coral_loss(self._first[0], own[0]), mmd_loss(self._first[1], own[1])])
        )
        rows = features.double()
        self._count += len(rows)
        self._sum += rows.sum(dim=0)
        self._outer.addmm_(rows.T, rows)

    def result(self) -> Statistics:
        """Covariance and mean of all rows but the first batch's; the divergences' plain means over
        those batches.

        Raises:
            BenchError: fewer than three batches.
        """
        if self._first is None or len(self._divergences) < 2:
            raise BenchError(
                "tttpp takes its source statistics from at least 3 batches (the first is only a "
                "reference for the others) and got fewer: raise tttpp.stat_images, or lower "
                "tttpp.stat_batch where the source is small"
            )
        average = self._sum / self._count
        spread = (self._outer - self._count * average.outer(average)) / (self._count - 1)
        coral, mmd = torch.stack(self._divergences).mean(dim=0)
        dtype = self._first[0].dtype
        return Statistics(spread.to(dtype), coral, average.to(dtype), mmd)


def source_statistics(batches: Iterable[Tensor]) -> Statistics:
    """`Statistics` of batches of features (n, D), read once; see `Accumulator`."""
    found = Accumulator()
    for features in batches:
        found.add(features)
    return found.result()


def enlarge(
    images: Tensor, left: Tensor, top: Tensor, width: Tensor, height: Tensor, mirror: Tensor
) -> Tensor:
    """A part of each image (N, C, H, W), enlarged to the image's size (bilinear) and mirrored where
    `mirror` holds.

    `left`, `top`, `width` and `height` (N,) are shares of the image's sides.
    """
    none = torch.zeros_like(left)
    across = torch.where(mirror, -width, width)
    # output places -> input places, both from -1 to 1 over the image
    rows = [across, none, 2 * left + width - 1, none, height, 2 * top + height - 1]
    grid = F.affine_grid(
        torch.stack(rows, dim=1).view(-1, 2, 3), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def part_sides(area: Tensor, aspect: Tensor) -> tuple[Tensor, Tensor]:
    """Width and height, as shares of the image's, of a part with this share of its area.

    `aspect` in [0, 1] runs, on a logarithmic scale, from the narrowest to the widest part allowed:
    3/4 to 4/3 of the image's aspect, or what still fits into the image.
    """
    limit = area.log().neg().clamp(max=math.log(4 / 3))
    ratio = ((2 * aspect - 1) * limit).exp()
    return (area * ratio).sqrt(), (area / ratio).sqrt()


def greyscale(images: Tensor) -> Tensor:
    """Luma of RGB images: (N, 3, H, W) -> (N, 1, H, W), weights of ITU-R 601."""
    red, green, blue = images.split(1, dim=1)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def blend(images: Tensor, other: Tensor | float, share: Tensor) -> Tensor:
    """share * images + (1 - share) * other, clipped to [0, 1]; `share` (N,), beyond 1 it leads
    away from `other`.
    """
    return (_each(share) * images + (1 - _each(share)) * other).clamp(0, 1)


def shift_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of RGB images (N, 3, H, W) by `turn` (N,), in full circles; value and
    saturation of HSV stay.
    """
    red, green, blue = images.unbind(1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    divisor = torch.where(chroma == 0, 1, chroma)
    hue = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    hue = torch.where(value == red, (green - blue) / divisor, hue) + 6 * turn.view(-1, 1, 1)
    # hue in sixths of a circle; a channel has its full value within one sixth of its own hue, and
    # none beyond two
    places = torch.stack([(offset + hue) % 6 for offset in (5, 3, 1)], dim=1)
    return value[:, None] - chroma[:, None] * torch.minimum(places, 4 - places).clamp(0, 1)


def jitter(images: Tensor, factors: Tensor, turn: Tensor) -> Tensor:
    """Brightness, contrast and saturation by `factors` (N, 3), hue by `turn` (N,); 1 and 0
    change nothing.
    """
    brightness, contrast, saturation = factors.unbind(1)
    images = blend(images, 0.0, brightness)
    images = blend(images, greyscale(images).mean(dim=(1, 2, 3), keepdim=True), contrast)
    return shift_hue(blend(images, greyscale(images), saturation), turn)


def random_view(images: Tensor, draws: Tensor) -> Tensor:
    """A view of each image (N, 3, H, W) in [0, 1], of the same size; `draws` (N, 11) uniform in
    [0, 1).
    """
    part, factors, rest = draws.to(images.dtype).split([5, 3, 3], dim=1)
    area, aspect, left, top, mirror = part.unbind(1)
    turn, jittered, grey = rest.unbind(1)
    width, height = part_sides(0.2 + 0.8 * area, aspect)
    views = enlarge(images, left * (1 - width), top * (1 - height), width, height, mirror < 0.5)
    views = torch.where(
        _each(jittered < 0.8), jitter(views, 0.6 + 0.8 * factors, 0.2 * turn - 0.1), views
    )
    return torch.where(_each(grey < 0.2), greyscale(views), views)


def _each(values: Tensor) -> Tensor:
    """One value an image (N,) as something that goes with images."""
    return values.view(-1, 1, 1, 1)


def pooled_grid(stages: Sequence[Tensor], cells: int) -> Tensor:
    """The hypercolumn averaged (adaptively) in cells x cells, (B, sum C_l, cells, cells), without
    building it.

    Resizing and averaging are both linear along an axis: together they are one small matrix for
    each axis and stage.
    """
    height, width = stages[0].shape[-2:]

    def weights(length: int, resized: int) -> Tensor:
        return F.adaptive_avg_pool1d(linear_weights(length, resized, stages[0]).T, cells).T

    return torch.cat(
        [weights(s.shape[2], height) @ (s @ weights(s.shape[3], width).T) for s in stages], dim=1
    )


class Queue(nn.Module):
    """The latest `length` rows of features of earlier batches, as a ring; no part of
    checkpoints.
    """

    rows: Tensor
    taken: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(length, width), persistent=False)
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64), persistent=False)

    def push(self, features: Tensor) -> None:
        """Take the rows of a batch (n, width) in place of the oldest."""
        length = len(self.rows)
        latest = features[-length:]
        places = (self.taken + torch.arange(len(latest), device=latest.device)) % length
        self.rows.index_copy_(0, places, latest)
        self.taken += len(latest)

    def behind(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """A batch's rows (n, width) with these behind them, (n + length, width), and 1 where a row
        is filled, else 0.

        The shapes do not depend on how many are filled.
        """
        filled = torch.arange(len(self.rows), device=features.device) < self.taken
        kept = torch.cat([features.new_ones(len(features)), filled.to(features.dtype)])
        return torch.cat([features, self.rows]), kept


class TTTPlusPlusOptions(EmaOptions):
    """Options of `TTTPlusPlus`."""

    use: Literal["both", "ssl", "align"] = option(
        "both",
        "the contrastive loss (ssl), the alignment (align), or both",
        citation="authors' code",
    )
    divergence: Literal["all", "coral", "mmd"] = option(
        "all",
        "what the alignment compares: covariances (coral), means (mmd), or all",
        citation="authors' code",
    )
    temperature: float = option(
        0.5,
        "temperature T of the contrastive loss while adapting (0.5 at source)",
        citation="authors' code",
        gt=0,
    )
    scale_ext: float = option(
        0.5,
        "factor of the alignment of the encoder's feature; 0 drops it",
        citation="authors' code, its default",
        ge=0,
    )
    scale_ssh: float = option(
        0.2, "factor of the alignment of the projection; 0 drops it", citation="authors' code", ge=0
    )
    mmd_factor: float = option(
        0.5, "factor c of the means' divergence", citation="authors' code", gt=0
    )
    queue_size: int = option(
        0,
        "features of so many earlier images join those of the batch",
        citation="authors' defaults",
        ge=0,
        le=4096,
    )
    stat_batch: int = option(
        8,
        "source images a batch; best as many as a target batch and the queue",
        citation="this project",
        ge=2,
    )
    stat_images: int = option(
        4096, "source images for the statistics, at most", citation="this project", ge=6
    )
    head_pool: int = option(
        8,
        "cells along a side that the hypercolumn is averaged in",
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
        True, "the backbone moves alone, the projection stays", citation="authors' scripts"
    )

    @property
    def contrasts(self) -> bool:
        """Whether the contrastive loss is part of the objective."""
        return self.use != "align"

    @property
    def scales(self) -> dict[str, float]:
        """The features that are aligned, with their factors."""
        scales = dict(zip(FEATURES, (self.scale_ext, self.scale_ssh), strict=True))
        return {name: scale for name, scale in scales.items() if scale and self.use != "ssl"}

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if not self.contrasts and not self.scales:
            raise ValueError(
                "tttpp.use = align needs tttpp.scale_ext or tttpp.scale_ssh above 0, or nothing is "
                "left to minimise"
            )
        if self.queue_size and not self.scales:
            raise ValueError(
                f"tttpp.queue_size = {self.queue_size} has no use without an alignment: set it to "
                "0, or tttpp.use to both or align with tttpp.scale_ext or tttpp.scale_ssh above 0"
            )
        if self.stat_images < 3 * self.stat_batch:
            raise ValueError(
                f"tttpp.stat_images = {self.stat_images} must be at least three times "
                f"tttpp.stat_batch = {self.stat_batch}: the first batch is only a reference for "
                "the others"
            )
        return self


class TTTPlusPlusModules(nn.Module):
    """What TTT++ adds: the projection of a hypercolumn of `channels`, and a queue for each
    feature if asked for.
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
        self.queues = nn.ModuleDict(
            {n: Queue(options.queue_size, widths[n]) for n in widths if options.queue_size}
        )

    def project(self, stages: Sequence[Tensor]) -> Tensor:
        """The projection (B, head_out) of the stages, not normalised."""
        return self.head(pooled_grid(stages, self.cells).flatten(1))


class TTTPlusPlus(Adapter):
    """Adaptation by contrasting views and aligning features with the source's."""

    name: ClassVar[str] = "tttpp"
    Options: ClassVar[type[Options]] = TTTPlusPlusOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, CIFAR-10 script: SGD, batches of 256 (CIFAR-100: 1e-4, scale_ext "
        "5, scale_ssh 20); 40 steps stand for its up to 500 passes over the target",
        optimiser=Optimiser(lr=1e-2, momentum=0.9),
    )
    card: ClassVar[Card] = Card(
        title="TTT++: contrastive test-time training with feature alignment",
        paper="Liu et al., TTT++: When Does Self-Supervised Test-Time Training Fail or Thrive?, "
        "NeurIPS 2021",
        source_training="the shared network jointly with a projection head, on a second forward of "
        "two views an image",
        moves="the backbone",
        sizes="any: the hypercolumn is averaged in 8 x 8 cells, which squeezes the aspect",
        architecture="inferred from the published count",
        quirks=(
            Quirk(
                "halves the learning rate and stops early by the target's test error",
                "labels are never read",
            ),
            Quirk(
                "moves only BatchNorm's statistics in its first two passes over the target",
                "not reproduced",
            ),
            Quirk(
                "scales L_ext by 0.05 in its CIFAR-10 script, by 0.5 by default",
                "0.5",
                "scale_ext=0.05",
            ),
            Quirk(
                "aligns another batch than the one whose views it contrasts, with a forward for "
                "each feature",
                "one batch, and one forward of it for both features",
            ),
            Quirk(
                "joins the features of a queue to those of a batch in its CIFAR scripts (1536 and "
                "2048 rows with the batch), and adds to it at every step",
                "off by default, as are its arguments; a batch is added once, after its last step",
                "queue_size=1280",
            ),
        ),
    )

    _source: dict[str, Statistics]
    _exact: bool

    def needs(self) -> Needs:
        return Needs(min_batch=2)

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        return TTTPlusPlusModules(self.options, sum(cast(Network, model).channels))

    def phases(self) -> tuple[Phase, ...]:
        return (Phase(name="joint", trains=("model", "extra")),)

    def source_loss(self, step: SourceStep) -> dict[str, Tensor]:
        return {"contrastive": _contrast(step.net, step.batch.images, step.ctx, SOURCE_TEMPERATURE)}

    def source_pass(self) -> SourcePass | None:
        if not self.options.scales:
            return None
        return SourcePass(images=self.options.stat_images, batch=self.options.stat_batch)

    def source_statistics(
        self, net: Net, images: Iterable[Tensor], ctx: Context
    ) -> dict[str, Tensor]:
        # of both features, whichever are aligned: they are stored for runs with other factors too
        found = {name: Accumulator() for name in FEATURES}
        for batch in images:
            for name, features in _features(net, net.model.stages(batch), FEATURES).items():
                found[name].add(features)
        results = {name: accumulator.result()._asdict() for name, accumulator in found.items()}
        return {
            f"{name}.{field}": tensor
            for name, result in results.items()
            for field, tensor in result.items()
        }

    def bind(self, net: Net, statistics: Mapping[str, Tensor]) -> Plan:
        like, predict = next(net.parameters()), Norm(self.options.predict_norm)
        self._source = {
            name: Statistics(
                *(statistics[f"{name}.{field}"].to(like) for field in Statistics._fields)
            )
            for name in (self.options.scales if statistics else ())
        }
        # without an alignment no step sees the clean batch
        self._exact = predict is Norm.BATCH and bool(self.options.scales)
        head = () if self.options.fix_head else ("extra.head.*",)
        return Plan(
            moves=("model.backbone.*", *head), adapt=Norm.EMA, predict=predict, exact=self._exact
        )

    def passes(self, batch: int) -> Passes:
        count = 2 * self.options.contrasts + bool(self.options.scales)
        return Passes(count, count)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
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

    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        if not self.options.queue_size:
            return
        # normalised as in a step, without moving the statistics once more
        with ctx.norm(Norm.BATCH):
            stages = net.model.stages(images)
        for name, features in _features(net, stages, self.options.scales).items():
            _queue(net, name).push(features)

    def _align(self, net: Net, stages: Sequence[Tensor]) -> dict[str, Tensor]:
        """The terms of L_f of every aligned feature."""
        options, losses = self.options, {}
        for name, features in _features(net, stages, options.scales).items():
            source, scale, kept = self._source[name], options.scales[name], None
            if options.queue_size:
                features, kept = _queue(net, name).behind(features)
            if options.divergence != "mmd":
                coral = coral_loss(source.covariance, covariance(features, kept))
                losses[f"{name}_coral"] = scale * coral / source.coral_reference
            if options.divergence != "coral":
                mmd = mmd_loss(source.mean, mean(features, kept))
                losses[f"{name}_mmd"] = scale * options.mmd_factor * mmd / source.mmd_reference
        return losses


def _modules(net: Net) -> TTTPlusPlusModules:
    return cast(TTTPlusPlusModules, net.extra)


def _queue(net: Net, name: str) -> Queue:
    return cast(Queue, _modules(net).queues[name])


def _features(net: Net, stages: Sequence[Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """The wanted features (B, D) of a batch: the encoder's, the projection, or both."""
    found = {"ext": net.model.pooled, "ssh": _modules(net).project}
    return {name: found[name](stages) for name in names}


def _contrast(net: Net, images: Tensor, ctx: Context, temperature: float) -> Tensor:
    """L_con of two views of each image, in one forward of 2 B images."""
    views = random_view(torch.cat([images, images]), ctx.rand(2 * len(images), VIEW_DRAWS))
    unit = F.normalize(_modules(net).project(net.model.stages(views)), dim=1)
    return contrastive_loss(torch.stack(unit.chunk(2), dim=1), temperature)
