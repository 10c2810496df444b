"""The shared multi-task network: one timm backbone, a fused hypercolumn, one 1x1 convolution a
task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers.format import Format
from timm.models import FeatureListNet
from torch import Tensor, nn

from ttt_bench.network import STAGES, Network

NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unscaled": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation that images in [0, 1] are normalised with: ImageNet's, or those
that give [-1, 1].
"""


class MultiTaskModel(Network):
    """RGB in [0, 1] to every task's output at the image's size.

    The four stages s1..s4 (B, C_l, H/2^(l+1), W/2^(l+1)) are resized to the size of s1 (bilinear)
    and concatenated to the hypercolumn (B, sum C_l, H/4, W/4); a head is a 1x1 convolution on it,
    resized to (H, W). A 1x1 convolution commutes with bilinear resizing, so `project` applies it
    stage by stage and never builds the hypercolumn (2 GB for eight images of 448x576 with
    ResNet-50).

    Attributes:
        tasks: task -> output channels, in canonical order.
        channels: channels of each stage.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, channels: Sequence[int], tasks: Mapping[str, int]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        # some of timm's transformers give (B, H, W, C)
        self._channels_last = getattr(backbone, "output_fmt", Format.NCHW) == Format.NHWC
        self.channels = tuple(channels)
        self.tasks = dict(tasks)
        width = sum(self.channels)
        self.heads = nn.ModuleDict(
            {task: nn.Conv2d(width, outputs, 1) for task, outputs in self.tasks.items()}
        )
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in NORMALISATIONS["imagenet"])
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def normalise_by(self, normalisation: str) -> None:
        """Normalise images with these of `NORMALISATIONS` from now on."""
        for buffer, values in zip(
            (self.mean, self.std), NORMALISATIONS[normalisation], strict=True
        ):
            buffer.copy_(torch.tensor(values).view(1, 3, 1, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] to what the backbone expects."""
        return (images - self.mean) / self.std

    def stages(self, images: Tensor, last: int = STAGES) -> list[Tensor]:
        """The features s1..s`last` (B, C_l, h_l, w_l); nothing behind the last one wanted is
        computed.
        """
        x = self.normalise(images)
        if not isinstance(self.backbone, FeatureListNet):
            features = list(self.backbone(x))[:last]
        else:
            features = []
            for name, module in self.backbone.items():
                x = module(x)
                if name in self.backbone.return_layers:
                    features.append(x)
                    if len(features) == last:
                        break
        return [x.permute(0, 3, 1, 2) for x in features] if self._channels_last else features

    def upstream(self, last: int) -> tuple[str, ...]:
        """Names of the parameters that s1..s`last` depend on; all of the backbone's where timm
        cannot tell.
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
        """The hypercolumn's mean over all places, (B, sum C_l), without building it.

        Bilinear resizing keeps a stage's mean where its size divides that of s1, as it does for
        images whose sides are multiples of 32; elsewhere the weights that resizing gives to its
        pixels are applied to it.
        """
        size = stages[0].shape[-2:]
        return torch.cat([_resized_mean(stage, size) for stage in stages], dim=1)

    def hypercolumn(self, stages: Sequence[Tensor]) -> Tensor:
        """The stages at the size of the first, concatenated: (B, sum C_l, H/4, W/4). Large: see
        the class's text.
        """
        size = stages[0].shape[-2:]
        return torch.cat([resize(stage, size) for stage in stages], dim=1)

    def project(
        self, stages: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """A 1x1 convolution of the hypercolumn, (B, outputs, H/4, W/4), equal to the definition up
        to rounding.

        Args:
            stages: s1..s4.
            weight: (outputs, sum C_l, 1, 1).
            bias: (outputs,).
        """
        size = stages[0].shape[-2:]
        first, *rest = weight.split(self.channels, dim=1)
        fused = F.conv2d(stages[0], first, bias)
        for stage, part in zip(stages[1:], rest, strict=True):
            fused = fused + resize(F.conv2d(stage, part), size)
        return fused

    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """Every task's raw output (B, K, H, W) at `size` = (H, W), from the stages."""
        heads = [cast(nn.Conv2d, self.heads[task]) for task in self.tasks]
        weight = torch.cat([head.weight for head in heads])
        bias = torch.cat([cast(Tensor, head.bias) for head in heads])
        fused = resize(self.project(stages, weight, bias), size)
        return dict(zip(self.tasks, fused.split(list(self.tasks.values()), dim=1), strict=True))


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear without aligned corners."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def linear_weights(length: int, wanted: int, like: Tensor) -> Tensor:
    """(wanted, length): what each of `length` places contributes when `resize` makes `wanted` of
    them.
    """
    identity = torch.eye(length, dtype=like.dtype, device=like.device)
    return F.interpolate(identity[None], size=wanted, mode="linear", align_corners=False)[0].T


def _resized_mean(x: Tensor, size: Sequence[int]) -> Tensor:
    if all(wanted % length == 0 for wanted, length in zip(size, x.shape[-2:], strict=True)):
        return x.mean(dim=(2, 3))
    rows, columns = (
        linear_weights(length, wanted, x).mean(dim=0)
        for length, wanted in zip(x.shape[-2:], size, strict=True)
    )
    return torch.einsum("bchw,h,w->bc", x, rows, columns)
