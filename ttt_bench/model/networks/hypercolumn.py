"""The network of the papers: one 1x1 convolution of the hypercolumn per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ttt_bench.model.network import StagedNetwork, resize
from ttt_bench.network import NetworkOptions


class Hypercolumn(StagedNetwork):
    """RGB in [0, 1] to the output of every task, by 1x1 convolutions of the hypercolumn.

    Attributes:
        heads: task -> 1x1 convolution; its output is resized to the size of the images.
    """

    name = "hypercolumn"
    summary = "one 1x1 convolution of the hypercolumn per task, as in TR-TTT and S4T"
    heads: nn.ModuleDict

    def __init__(
        self,
        backbone: nn.Module,
        channels: Sequence[int],
        tasks: Mapping[str, int],
        options: NetworkOptions | None = None,
    ) -> None:
        super().__init__(backbone, channels, tasks, options)
        width = sum(self.channels)
        self.heads = nn.ModuleDict(
            {task: nn.Conv2d(width, outputs, 1) for task, outputs in self.tasks.items()}
        )

    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """Return the raw output of every task, (B, K, H, W) at `size` = (H, W)."""
        heads = [cast(nn.Conv2d, self.heads[task]) for task in self.tasks]
        weight = torch.cat([head.weight for head in heads])
        bias = torch.cat([cast(Tensor, head.bias) for head in heads])
        fused = resize(self.project(stages, weight, bias), size)
        # (B, sum K, H, W) -> one (B, K, H, W) per task
        return dict(zip(self.tasks, fused.split(list(self.tasks.values()), dim=1), strict=True))
