"""ActMAD: activation matching.

Mirza et al., "ActMAD: Activation Matching to Align Distributions for Test-Time-Training", CVPR
2023. With y the output of a BatchNorm layer l, before its activation, and its mean and unbiased
variance over the N images of a batch, at every channel and place,

    mu_l = 1/N sum_n y_n,    var_l = 1/(N - 1) sum_n (y_n - mu_l)^2                       maps (C, h, w)
    loss = weight sum_l (mean |mu_l - mu_l^source| + mean |var_l - var_l^source|)

The source's maps are plain averages of those of its batches, so that its variance depends on the
size of a batch. All BatchNorm layers normalise with their stored statistics, at source and target
alike.

Dense port: all BatchNorm layers of the backbone. Source and target differ in size: the source's
maps are resized to the target's, or the source's images are, or both are averaged over places
(`ActMADOptions.spatial`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
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
    option,
)
from ttt_bench.errors import BenchError, unknown
from ttt_bench.model import resize
from ttt_bench.network import Net

Statistics = tuple[Tensor, Tensor]
"""A layer's mean and variance, (C, h, w) each."""


class _Moments(torch.autograd.Function):
    """Mean and unbiased variance over the first dimension.

    Written out because `torch.var_mean` takes many times as long on a CPU. The gradient in closed
    form passes over the features once, and nothing of their size is kept for it but they, which
    BatchNorm keeps anyway.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Statistics:
        mean = features.mean(dim=0)
        squares = F.mse_loss(features, mean.expand_as(features), reduction="none")
        ctx.save_for_backward(features, mean)
        return mean, squares.sum(dim=0) / (len(features) - 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        to_mean, to_var = gradients
        features, mean = ctx.saved_tensors
        count = len(features)
        # d mean / d x_n = 1/N and d var / d x_n = 2 (x_n - mean) / (N - 1)
        slope = to_var * (2 / (count - 1))
        return torch.addcmul(to_mean / count - slope * mean, slope, features)


def activation_statistics(features: Tensor) -> Statistics:
    """Mean and unbiased variance over the batch at every place: (N, C, H, W), N >= 2, to two (C,
    H, W).
    """
    return _Moments.apply(features)


class AverageStatistics:
    """The plain average of the statistics of batches, taken in one by one.

    Attributes:
        value: mean and variance, (C, H, W) each; None before the first batch.
    """

    def __init__(self) -> None:
        self.value: Statistics | None = None
        self._batches = 0

    def add(self, statistics: Statistics) -> None:
        """Take in the statistics of a batch."""
        self._batches += 1
        mean, var = self.value or statistics
        share = 1 / self._batches
        self.value = mean.lerp(statistics[0], share), var.lerp(statistics[1], share)


def source_statistics(batches: Iterable[Tensor]) -> Statistics:
    """A layer's statistics on the source from its features (n_i, C, H, W), read once, to two (C, H,
    W).

    The unweighted mean of each batch's mean and of its unbiased variance, not the variance of all
    images together; a batch of one image has no variance and is left out.
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
    weight: float = 1.0,
) -> Tensor:
    """weight * sum_l (mean |mu_t - mu_s| + mean |var_t - var_s|) over the layers' maps (C_l,
    H_l, W_l) (scalar).
    """
    pairs = [
        *zip(target_means, source_means, strict=True),
        *zip(target_vars, source_vars, strict=True),
    ]
    return (
        weight
        * torch.stack(
            [(target - source).abs().sum() / target.numel() for target, source in pairs]
        ).sum()
    )


def normalised(layer: _BatchNorm, statistics: Statistics) -> Statistics:
    """The statistics of what a BatchNorm layer gives, from those of what it is given, under its
    stored statistics.

    It is then an affine map in each channel, y = g x + o with g = weight / sqrt(running_var + eps)
    and o = bias - g running_mean, so that mean(y) = g mean(x) + o and var(y) = g^2 var(x). The
    output itself is hard to
    keep: residual sums and activations change it in place, and timm's fused layers never show it
    before the activation.
    """
    mean, var = statistics
    gain = layer.weight / (layer.get_buffer("running_var") + layer.eps).sqrt()
    offset = layer.bias - gain * layer.get_buffer("running_mean")
    return mean * gain[:, None, None] + offset[:, None, None], var * gain.square()[:, None, None]


class Watch:
    """Gathers the statistics of what BatchNorm layers give, while its block lasts; its hooks
    stay on the layers.
    """

    def __init__(self, layers: Mapping[str, _BatchNorm]) -> None:
        self._found: dict[str, Statistics] | None = None
        for name, layer in layers.items():
            layer.register_forward_pre_hook(partial(self._look, name))

    def _look(self, name: str, layer: _BatchNorm, inputs: tuple[Tensor]) -> None:
        if self._found is not None:
            self._found[name] = normalised(layer, activation_statistics(inputs[0]))

    @contextmanager
    def looking(self) -> Iterator[dict[str, Statistics]]:
        """Within the block, the layers' statistics by name, in the order of the forward."""
        found: dict[str, Statistics] = {}
        self._found = found
        try:
            yield found
        finally:
            self._found = None


def chosen_layers(backbone: nn.Module, layers: str | tuple[str, ...]) -> dict[str, _BatchNorm]:
    """The BatchNorm layers that `ActMADOptions.layers` means, by name in the backbone, in its
    order.

    Raises:
        BenchError: a name that the backbone does not have, or nothing left.
    """
    # one-dimensional ones see tokens or vectors, not maps
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
                f"actmad.layers = {layers!r} leaves none of the backbone's {len(found)} BatchNorm layers"
            )
        return dict(left)
    for name in layers:
        if name not in found:
            raise unknown("BatchNorm layer in actmad.layers", name, found)
    return {name: layer for name, layer in found.items() if name in layers}


def _which_layers(layers: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if not layers or (
        isinstance(layers, str) and layers != "all" and not re.fullmatch(r"skip:\d+", layers)
    ):
        raise ValueError(
            f"actmad.layers = {layers!r} must be 'all', 'skip:N' (all but the first N), or a list of names such as "
            "['bn1', 'layer1.0.bn2']"
        )
    return layers


class ActMADOptions(Options):
    """Options of `ActMAD`."""

    weight: float = option(
        1.0, "factor of the loss", citation="authors' KITTI code (CIFAR: 0.5)", gt=0
    )
    layers: Annotated[str | tuple[str, ...], AfterValidator(_which_layers)] = option(
        "all",
        "BatchNorm layers of the backbone that are matched: all; skip:N, all but the first N; or a list of their names",
        citation="authors' CIFAR code",
        shapes_source=True,
    )
    spatial: Literal["interpolate", "resize_source", "channel"] = option(
        "interpolate",
        "where sizes differ: resize the source's maps (bilinear), or take the source's statistics on images resized to "
        "the target's size; channel: compare means over places, at any size",
        citation="decision of this project; the first two are the authors' code where sizes are equal",
    )
    stat_batch: int = option(
        8,
        "images a batch of the source's statistics; their variance depends on it, so it should be the target's",
        citation="S4T's batch size (authors' code: 128 on CIFAR, 30 on KITTI)",
        shapes_source=True,
        ge=2,
    )
    stat_images: int = option(
        4096,
        "source images for the statistics, at most",
        citation="decision of this project (authors' code: all)",
        shapes_source=True,
        ge=2,
    )

    @model_validator(mode="after")
    def _at_least_one_batch(self) -> Self:
        if self.stat_images < self.stat_batch:
            raise ValueError(
                f"actmad.stat_images = {self.stat_images} must be at least actmad.stat_batch = {self.stat_batch}"
            )
        return self


class ActMAD(Adapter):
    """Adaptation by matching the statistics of activations with those of the source."""

    name: ClassVar[str] = "actmad"
    Options: ClassVar[type[Options]] = ActMADOptions
    original: ClassVar[Hparams] = Hparams(
        citation="authors' code, KITTI: SGD, 1e-4, one step a batch of 30, never reset (--protocol online). Elsewhere: 1e-2 on "
        "CIFAR-10, 1e-3 on CIFAR-100 (batches of 128), 2.5e-4 on ImageNet",
        optimiser=Optimiser(lr=1e-4, momentum=0.9, nesterov=True, weight_decay=5e-4),
        steps=1,
    )
    card: ClassVar[Card] = Card(
        title="ActMAD: activation matching",
        paper="Mirza et al., ActMAD: Activation Matching to Align Distributions for Test-Time-Training, CVPR 2023",
        source_training="nothing of its own; Base's source model, and statistics of its activations",
        moves="the backbone (the authors declare the heads too, which get no gradient)",
        sizes="any: the source's maps of statistics are resized to those of the target (actmad.spatial)",
        quirks=(
            Quirk("halves the loss on CIFAR", "not halved, as on KITTI", "weight=0.5"),
            Quirk(
                "leaves out the first 26 of YOLOv3's layers on KITTI",
                "all layers, as on CIFAR",
                "layers=skip:26",
            ),
            Quirk(
                "keeps references to the layers' outputs on CIFAR, which activations in place then overwrite",
                "outputs before the activation, as on KITTI, where they are copied",
            ),
            Quirk(
                "reports the best of all batches by the target's labels (always on CIFAR, optionally on KITTI)",
                "every step is stored, and a choice by labels is called oracle",
            ),
        ),
    )

    def needs(self) -> Needs:
        return Needs(min_batch=2, batchnorm=True)

    def source_pass(self) -> SourcePass:
        return SourcePass(
            images=self.options.stat_images,
            batch=self.options.stat_batch,
            at_target_size=self.options.spatial == "resize_source",
        )

    def source_statistics(
        self, net: Net, images: Iterable[Tensor], ctx: Context
    ) -> dict[str, Tensor]:
        layers = self._layers(net)
        averages = {name: AverageStatistics() for name in layers}
        with Watch(layers).looking() as found:
            for batch in images:
                net.model.stages(batch)
                for name, statistics in found.items():
                    averages[name].add(statistics)
        # a layer that the four stages do not need is never run
        maps = {
            name: average.value for name, average in averages.items() if average.value is not None
        }
        return {
            f"{kind}.{name}": value[i]
            for name, value in maps.items()
            for i, kind in enumerate(("mean", "var"))
        }

    def bind(self, net: Net, statistics: Mapping[str, Tensor]) -> Plan:
        self._watch = Watch(self._layers(net))
        self._statistics = statistics
        self._fitted: dict[tuple[str, tuple[int, ...]], Statistics] = {}
        return Plan(
            moves=("model.backbone.*",), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True
        )

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        with self._watch.looking() as found:
            stages = net.model.stages(images)
        with torch.no_grad():  # no term of the loss lies behind the stages
            predictions = net.model.outputs(stages, images.shape[-2:])
        source = [self._source(name, tuple(mean.shape[-2:])) for name, (mean, _) in found.items()]
        target = list(found.values())
        if self.options.spatial == "channel":
            target = [_over_places(statistics) for statistics in target]
        means, variances = zip(*target, strict=True)
        source_means, source_variances = zip(*source, strict=True)
        loss = alignment_loss(means, variances, source_means, source_variances, self.options.weight)
        return StepOut({"alignment": loss}, predictions)

    def _layers(self, net: Net) -> dict[str, _BatchNorm]:
        return chosen_layers(net.model.backbone, self.options.layers)

    def _source(self, name: str, size: tuple[int, ...]) -> Statistics:
        """A layer's statistics on the source as they are compared with those of maps of `size`;
        made once.
        """
        if (name, size) not in self._fitted:
            maps = self._statistics[f"mean.{name}"], self._statistics[f"var.{name}"]
            if self.options.spatial == "channel":
                self._fitted[name, size] = _over_places(maps)
            else:
                self._fitted[name, size] = (
                    resize(maps[0][None], size)[0],
                    resize(maps[1][None], size)[0],
                )
        return self._fitted[name, size]


def _over_places(maps: Statistics) -> Statistics:
    """Means over places: two (C, h, w) to two (C, 1, 1)."""
    return maps[0].mean(dim=(1, 2), keepdim=True), maps[1].mean(dim=(1, 2), keepdim=True)
