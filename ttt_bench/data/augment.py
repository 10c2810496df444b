"""Changes of a batch that its targets follow."""

from __future__ import annotations

import torch
from torch import Tensor

from ttt_bench.data.base import Batch
from ttt_bench.tasks import IGNORE


def hflip(batch: Batch, mask: Tensor) -> Batch:
    """Mirror left and right the samples where `mask` (B,) bool is true.

    Images and every target are mirrored; the x of a normal changes its sign, except where there is no normal (255).
    """
    targets = {name: _mirror(value, mask) for name, value in batch.targets.items()}
    if "normals" in targets:
        normals = targets["normals"]
        valid = (normals != IGNORE).any(dim=1) & mask[:, None, None]
        x = torch.where(valid, -normals[:, 0], normals[:, 0])
        targets["normals"] = torch.cat([x[:, None], normals[:, 1:]], dim=1)
    return Batch(_mirror(batch.images, mask), targets)


def _mirror(values: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.view(-1, *[1] * (values.dim() - 1)), values.flip(-1), values)
