"""The base class of networks: a backbone, its four stages and their fusion, without heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Generic, cast

import torch
import torch.nn.functional as F
from timm.layers.format import Format
from timm.models import FeatureListNet
from torch import Tensor, nn

from ttt_bench.config.preset import ModelConfig
from ttt_bench.model.backbone import timm_backbone
from ttt_bench.model.normalisation import NORMALISATIONS
from ttt_bench.model.split import BatchSplit
from ttt_bench.network import STAGES, Network, OptionsT


class StagedNetwork(Network, Generic[OptionsT]):
    """A network on the four stages of a backbone: everything but the heads.

    The stages s1..s4 (B, C_l, h_l, w_l) of most backbones have the sizes H/2^(l+1), W/2^(l+1). They
    are resized to the size of s1 (bilinear) and concatenated to the hypercolumn (B, sum C_l, h_1,
    w_1). A 1x1 convolution commutes with bilinear resizing, so `project` convolves stage by stage
    and does not build the hypercolumn, which would take 2 GB for eight images of 448x576 with
    ResNet-50.

    A subclass sets `heads` in its constructor, after calling that of this class, and defines
    `outputs`. The type parameter, the class of the options, is optional and serves type checkers.

    Args:
        backbone: the layers that compute the stages.
        channels: number of channels of each stage.
        tasks: task -> output channels, in canonical order.
        options: the network's options; None for the defaults.

    Attributes:
        split: how several devices share the images of `stages` in source training; None for one
            device.
    """

    options: OptionsT
    mean: Tensor
    std: Tensor
    split: BatchSplit | None = None

    def __init__(
        self,
        backbone: nn.Module,
        channels: Sequence[int],
        tasks: Mapping[str, int],
        options: OptionsT | None = None,
    ) -> None:
        super().__init__()
        self.options = options if options is not None else cast(OptionsT, type(self).Options())
        self.backbone = backbone
        # some transformers of timm return (B, H, W, C)
        self._channels_last = getattr(backbone, "output_fmt", Format.NCHW) == Format.NHWC
        self.channels = tuple(channels)
        self.tasks = dict(tasks)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in NORMALISATIONS["imagenet"])
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    @classmethod
    def make_backbone(
        cls, config: ModelConfig, options: OptionsT
    ) -> tuple[nn.Module, Sequence[int]]:
        """Return the timm backbone of a configuration, and the channels of its four stages."""
        return timm_backbone(config)

    def normalise_by(self, normalisation: str) -> None:
        """Normalise images from now on with these statistics, a name in `NORMALISATIONS`."""
        for buffer, values in zip(
            (self.mean, self.std), NORMALISATIONS[normalisation], strict=True
        ):
            buffer.copy_(torch.tensor(values).view(1, 3, 1, 1))  # (3,) -> (1, 3, 1, 1)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W) in [0, 1] as the backbone expects them."""
        return (images - self.mean) / self.std

    def stages(self, images: Tensor, last: int = STAGES) -> list[Tensor]:
        """Return the features s1..s`last`, each (B, C_l, h_l, w_l), of images (B, 3, H, W).

        Layers behind the last stage are not computed if the backbone is a `FeatureListNet`.
        """
        compute = partial(self._stages, last=last)
        return compute(images) if self.split is None else self.split.stages(compute, images)

    def _stages(self, images: Tensor, last: int) -> list[Tensor]:
        x = self.normalise(images)
        if isinstance(self.backbone, FeatureListNet):
            features = _first_features(self.backbone, x, last)
        else:
            features = list(self.backbone(x))[:last]
        # (B, h_l, w_l, C_l) -> (B, C_l, h_l, w_l)
        return [f.permute(0, 3, 1, 2) for f in features] if self._channels_last else features

    def upstream(self, last: int) -> tuple[str, ...]:
        """Return the names of the parameters that s1..s`last` depend on.

        These are all of the backbone's parameters unless it is a `FeatureListNet`.
        """
        below: list[str] = []
        reached = 0
        for name, module in self.backbone.named_children():
            below += [f"backbone.{name}.{parameter}" for parameter, _ in module.named_parameters()]
            reached += (
                isinstance(self.backbone, FeatureListNet) and name in self.backbone.return_layers
            )
            if reached == last:
                break
        return tuple(below)

    def pooled(self, stages: Sequence[Tensor]) -> Tensor:
        """Return the hypercolumn's mean over all positions, (B, sum C_l), without building it.

        Bilinear resizing keeps a stage's mean if its size divides that of s1, which is so for
        images whose sides are multiples of 32. Otherwise the mean is weighted by what each pixel
        contributes to the resized stage.
        """
        size = stages[0].shape[-2:]
        # each stage (B, C_l, h_l, w_l) -> (B, C_l)
        return torch.cat([_resized_mean(stage, size) for stage in stages], dim=1)

    def hypercolumn(self, stages: Sequence[Tensor]) -> Tensor:
        """Return the stages at the size of s1, concatenated: (B, sum C_l, H/4, W/4).

        This needs much memory: see the text of the class.
        """
        size = stages[0].shape[-2:]
        return torch.cat([resize(stage, size) for stage in stages], dim=1)

    def project(
        self, stages: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Return a 1x1 convolution of the hypercolumn, (B, outputs, H/4, W/4).

        The result equals that on the built hypercolumn up to rounding.

        Args:
            stages: s1..s4.
            weight: (outputs, sum C_l, 1, 1).
            bias: (outputs,).
        """
        size = stages[0].shape[-2:]
        # (outputs, sum C_l, 1, 1) -> one (outputs, C_l, 1, 1) per stage
        first, *rest = weight.split(self.channels, dim=1)
        fused = F.conv2d(stages[0], first, bias)
        for stage, part in zip(stages[1:], rest, strict=True):
            fused = fused + resize(F.conv2d(stage, part), size)
        return fused


def _first_features(backbone: FeatureListNet, x: Tensor, last: int) -> list[Tensor]:
    """Return the first `last` feature maps; layers behind the last one do not run."""
    features: list[Tensor] = []
    for name, module in backbone.items():
        x = module(x)
        if name in backbone.return_layers:
            features.append(x)
            if len(features) == last:
                break
    return features


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return x (B, C, h, w) resized to (B, C, *size), bilinear without aligned corners."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def linear_weights(length: int, wanted: int, like: Tensor) -> Tensor:
    """Return the matrix (wanted, length) of the weights with which `resize` resizes one axis.

    Args:
        length: number of positions before resizing.
        wanted: number of positions afterwards.
        like: a tensor with the dtype and device of the result.
    """
    identity = torch.eye(length, dtype=like.dtype, device=like.device)
    # identity as (batch 1, channels length, positions length) -> (1, length, wanted)
    return F.interpolate(identity[None], size=wanted, mode="linear", align_corners=False)[0].T


def _resized_mean(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return the mean (B, C) of x (B, C, h, w) after resizing to `size`."""
    if all(wanted % length == 0 for wanted, length in zip(size, x.shape[-2:], strict=True)):
        return x.mean(dim=(2, 3))
    rows, columns = (
        linear_weights(length, wanted, x).mean(dim=0)
        for length, wanted in zip(x.shape[-2:], size, strict=True)
    )
    return torch.einsum("bchw,h,w->bc", x, rows, columns)
