"""HRNets of timm for images of any size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from timm.models.hrnet import HighResolutionModule
from torch import Tensor, nn


class _CroppedFusion(HighResolutionModule):
    """The exchange between the branches of an HRNet, with coarser maps cropped to fit finer ones.

    timm enlarges a branch by a power of two, which fits only if the sides of the images are
    multiples of 32. For other sides the enlarged map is up to 2^k - 1 pixels too large, since each
    halving rounds up. Where timm's module works, nothing is cropped and the results are equal.
    """

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """Return the new branches from those of all scales, (B, C_l, h_l, w_l) each."""
        maps = [branch(one) for branch, one in zip(self.branches, x, strict=True)]
        return [
            self.fuse_act(_cropped_sum(cast(nn.ModuleList, layers), maps, own))
            for layers, own in zip(self.fuse_layers, maps, strict=False)
        ]


def _cropped_sum(layers: Iterable[nn.Module], maps: list[Tensor], own: Tensor) -> Tensor:
    """Return the sum of what each branch sends, at the size of `own`."""
    height, width = own.shape[-2:]
    first, *rest = [
        layer(one)[..., :height, :width] for layer, one in zip(layers, maps, strict=True)
    ]
    for one in rest:
        first = first + one
    return cast(Tensor, first)


def take_any_size(backbone: nn.Module) -> None:
    """Let the HRNet modules of a backbone take images of any size; others are left as they are."""
    for module in backbone.modules():
        if type(module) is HighResolutionModule and module.num_branches > 1:
            module.__class__ = _CroppedFusion
