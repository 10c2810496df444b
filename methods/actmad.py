"""ActMAD: activation matching.

Mirza et al., "ActMAD: Activation Matching to Align Distributions for Test-Time-Training", CVPR
2023. With y the output of a BatchNorm layer l, before its activation, and its mean and unbiased
variance over the N images of a batch, at every channel and position,

    mu_l = 1/N sum_n y_n,    var_l = 1/(N - 1) sum_n (y_n - mu_l)^2    (maps C x h x w)
    loss = weight sum_l (mean |mu_l - mu_l^source| + mean |var_l - var_l^source|)

The source's maps are the plain average of the maps of its batches, so their variance depends on the
batch size. All BatchNorm layers normalise with their stored statistics, on source and target.

Dense port: all BatchNorm layers of the backbone are matched. If source and target differ in size,
one of three things is done (`ActMADOptions.spatial`): the source's maps are resized to the
target's, the source's images are resized, or both maps are averaged over positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import AfterValidator, model_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

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
from ttt_bench.errors import BenchError, unknown
from ttt_bench.methods._activations import Statistics, Watch, activation_statistics
from ttt_bench.model import resize
from ttt_bench.network import Net


class AverageStatistics:
    """The plain average of the statistics of batches, which are added one by one.

    Attributes:
        value: mean and variance, (C, H, W) each; None before the first batch.
    """

    def __init__(self) -> None:
        self.value: Statistics | None = None
        self._batches = 0

    def add(self, statistics: Statistics) -> None:
        """Add the statistics of a batch."""
        self._batches += 1
        mean, var = self.value or statistics
        share = 1 / self._batches
        self.value = mean.lerp(statistics[0], share), var.lerp(statistics[1], share)


def source_statistics(batches: Iterable[Tensor]) -> Statistics:
    """Return the statistics of a layer on the source, two (C, H, W).

    They are the unweighted mean of the batches' means and of their unbiased variances, not the
    variance of all images together. A batch of one image has no variance and is skipped.

    Args:
        batches: the layer's features (n_i, C, H, W); read once.

    Raises:
        ValueError: no batch has two images.
    """
    average = AverageStatistics()
    for features in batches:
        if len(features) > 1:
            average.add(activation_statistics(features))
    if average.value is None:
        raise ValueError("statistics need a batch of at least two images")
    return average.value


def alignment_loss(
    target_means: Sequence[Tensor],
    target_vars: Sequence[Tensor],
    source_means: Sequence[Tensor],
    source_vars: Sequence[Tensor],
    *,
    weight: float = 1.0,
) -> Tensor:
    """Return weight * sum_l (mean |mu_t - mu_s| + mean |var_t - var_s|) (scalar).

    Each argument but `weight` holds one map (C_l, H_l, W_l) per layer.
    """
    pairs = [
        *zip(target_means, source_means, strict=True),
        *zip(target_vars, source_vars, strict=True),
    ]
    # each (C_l, H_l, W_l) -> scalar
    distances = [(target - source).abs().sum() / target.numel() for target, source in pairs]
    return weight * torch.stack(distances).sum()


def chosen_layers(backbone: nn.Module, layers: str | tuple[str, ...]) -> dict[str, _BatchNorm]:
    """Return the BatchNorm layers that `ActMADOptions.layers` selects, by name in the backbone.

    Raises:
        BenchError: the backbone does not have a named layer, or no layer is left.
    """
    # one-dimensional layers see tokens or vectors, not maps
    found = {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, _BatchNorm) and not isinstance(module, nn.BatchNorm1d)
    }
    if layers == "all":
        return found
    if isinstance(layers, str):
        left = list(found.items())[int(layers.removeprefix("skip:")) :]
        if not left:
            raise BenchError(
                f"actmad.layers = {layers!r} skips all {len(found)} BatchNorm layers of the "
                "backbone; skip fewer"
            )
        return dict(left)
    for name in layers:
        if name not in found:
            raise unknown("BatchNorm layer in actmad.layers", name, found)
    return {name: layer for name, layer in found.items() if name in layers}


def _which_layers(layers: str | tuple[str, ...]) -> str | tuple[str, ...]:
    valid = bool(layers)
    if isinstance(layers, str):
        valid = layers == "all" or re.fullmatch(r"skip:\d+", layers) is not None
    if not valid:
        raise ValueError(
            f"actmad.layers = {layers!r} must be 'all', 'skip:N' (all but the first N), or a list "
            "of names such as ['bn1', 'layer1.0.bn2']"
        )
    return layers


class ActMADOptions(Options):
    """Options of `ActMAD`."""

    weight: float = option(
        1.0, "factor of the loss", citation="authors' KITTI code (CIFAR: 0.5)", gt=0
    )
    layers: Annotated[str | tuple[str, ...], AfterValidator(_which_layers)] = option(
        "all",
        "BatchNorm layers of the backbone that are matched: all, skip:N (all but the first N), or "
        "a list of names",
        citation="authors' CIFAR code",
        shapes_source=True,
    )
    spatial: Literal["interpolate", "resize_source", "channel"] = option(
        "interpolate",
        "treatment of different sizes: interpolate (resize the source's maps, bilinear), "
        "resize_source (compute the source's statistics on images of the target's size), or "
        "channel (compare means over positions, at any size)",
        citation="decision of this project; the first two equal the authors' code if the sizes are "
        "equal",
    )
    stat_batch: int = option(
        8,
        "images per batch of the source's statistics; their variance depends on it, so it should "
        "equal the target's batch size",
        citation="S4T's batch size (authors' code: 128 on CIFAR, 30 on KITTI)",
        shapes_source=True,
        ge=2,
    )
    stat_images: int = option(
        4096,
        "largest number of source images for the statistics",
        citation="decision of this project (authors' code: all)",
        shapes_source=True,
        ge=2,
    )

    @model_validator(mode="after")
    def _at_least_one_batch(self) -> Self:
        if self.stat_images < self.stat_batch:
            raise ValueError(
                f"actmad.stat_images = {self.stat_images} must be at least actmad.stat_batch = "
                f"{self.stat_batch}"
            )
        return self


@dataclass(frozen=True)
class SourceMaps:
    """The source's statistics, in the form in which they are compared.

    Attributes:
        statistics: `mean.LAYER` and `var.LAYER` -> (C, h, w), as `source_statistics` returned them.
        per_channel: whether maps are averaged over positions; otherwise they are resized.
        fitted: cache of `of`.
    """

    statistics: Mapping[str, Tensor]
    per_channel: bool
    fitted: dict[tuple[str, tuple[int, ...]], Statistics] = field(default_factory=dict)

    def of(self, layer: str, size: tuple[int, ...]) -> Statistics:
        """Return the statistics of a layer for comparison with maps of `size` = (h, w)."""
        if (layer, size) not in self.fitted:
            self.fitted[layer, size] = self._fit(layer, size)
        return self.fitted[layer, size]

    def _fit(self, layer: str, size: tuple[int, ...]) -> Statistics:
        mean, var = self.statistics[f"mean.{layer}"], self.statistics[f"var.{layer}"]
        if self.per_channel:
            return _over_positions((mean, var))
        # `resize` wants a batch: (C, h, w) -> (1, C, h, w) -> (C, *size)
        return resize(mean[None], size)[0], resize(var[None], size)[0]


@dataclass(frozen=True)
class Bound:
    """What `ActMAD.bind` keeps: the recorder of activations and the source's maps."""

    watch: Watch
    source: SourceMaps


class ActMAD(Adapter[ActMADOptions, None]):
    """Adaptation by matching the statistics of activations with those of the source."""

    name: ClassVar[str] = "actmad"
    Options: ClassVar[type[Options]] = ActMADOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, KITTI: SGD, 1e-4, one step per batch of 30, never reset "
        "(--protocol online). Elsewhere: 1e-2 on CIFAR-10, 1e-3 on CIFAR-100 (batches of 128), "
        "2.5e-4 on ImageNet",
        optimiser=Optimiser(lr=1e-4, momentum=0.9, nesterov=True, weight_decay=5e-4),
        steps=1,
    )
    card: ClassVar[Card] = Card(
        title="ActMAD: activation matching",
        paper="Mirza et al., ActMAD: Activation Matching to Align Distributions for "
        "Test-Time-Training, CVPR 2023",
        source_training="nothing; uses Base's source model and statistics of its activations",
        moves="the backbone (the authors also declare the heads, which get no gradient)",
        sizes="any: the source's maps of statistics are resized to those of the target "
        "(actmad.spatial)",
        quirks=(
            Quirk("halves the loss on CIFAR", "not halved, as on KITTI", "weight=0.5"),
            Quirk(
                "skips the first 26 of YOLOv3's layers on KITTI",
                "matches all layers, as on CIFAR",
                "layers=skip:26",
            ),
            Quirk(
                "keeps references to the layers' outputs on CIFAR, which in-place activations then "
                "overwrite",
                "uses the outputs before the activation, as on KITTI, where they are copied",
            ),
            Quirk(
                "computes the source's statistics from randomly cropped and mirrored images on "
                "CIFAR, and adapts on such images too",
                "does not augment images, neither of the source nor of the target",
            ),
            Quirk(
                "reports the best of all batches by the target's labels (always on CIFAR, "
                "optionally on KITTI)",
                "stores every step; a choice by labels is called oracle",
            ),
        ),
    )

    def needs(self) -> Needs:
        return Needs(min_batch=2, batchnorm=True)

    # -- source training

    def source_pass(self) -> SourcePass:
        return SourcePass(
            images=self.options.stat_images,
            batch=self.options.stat_batch,
            at_target_size=self.options.spatial == "resize_source",
        )

    def source_statistics(
        self, net: Net[None], images: Iterable[Tensor], ctx: Context
    ) -> dict[str, Tensor]:
        layers = self._layers(net)
        averages = {name: AverageStatistics() for name in layers}
        with Watch(layers).recording() as found:
            for batch in images:
                net.model.stages(batch)
                for name, of_batch in found.items():
                    averages[name].add(of_batch)
        statistics = {}
        for name, average in averages.items():
            # None: the layer is not part of the four stages and never runs
            if average.value is not None:
                statistics[f"mean.{name}"], statistics[f"var.{name}"] = average.value
        return statistics

    # -- test time

    bound: Bound
    """Set by `bind`."""

    def bind(self, net: Net[None], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        source = SourceMaps(statistics, per_channel=self.options.spatial == "channel")
        self.bound = Bound(Watch(self._layers(net)), source)
        return Plan(
            moves=("model.backbone.*",), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True
        )

    def step(self, net: Net[None], images: Tensor, ctx: Context) -> StepOut:
        with self.bound.watch.recording() as found:
            stages = net.model.stages(images)
        with torch.no_grad():  # no term of the loss depends on the heads
            predictions = net.model.outputs(stages, images.shape[-2:])
        source = [
            self.bound.source.of(name, tuple(mean.shape[-2:])) for name, (mean, _) in found.items()
        ]
        target = list(found.values())
        if self.options.spatial == "channel":
            target = [_over_positions(statistics) for statistics in target]
        means, variances = zip(*target, strict=True)
        source_means, source_variances = zip(*source, strict=True)
        loss = alignment_loss(
            means, variances, source_means, source_variances, weight=self.options.weight
        )
        return StepOut({"alignment": loss}, predictions)

    # -- both

    def _layers(self, net: Net[None]) -> dict[str, _BatchNorm]:
        return chosen_layers(net.model.backbone, self.options.layers)


def _over_positions(maps: Statistics) -> Statistics:
    """Return the means over positions, two (C, h, w) -> two (C, 1, 1)."""
    return maps[0].mean(dim=(1, 2), keepdim=True), maps[1].mean(dim=(1, 2), keepdim=True)
