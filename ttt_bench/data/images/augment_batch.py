"""Augmentation of batches: changes of the images that the targets follow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ttt_bench.network import Batch
from ttt_bench.tasks import IGNORE


def coin(count: int, draw: torch.Generator) -> Tensor:
    """Return (count,) bool, each true with probability 1/2."""
    return torch.rand(count, generator=draw) < 0.5


def hflip(batch: Batch, mask: Tensor, negate_x: bool = True) -> Batch:
    """Return the batch with some samples mirrored horizontally, targets included.

    Args:
        mask: (B,) bool, the samples to mirror.
        negate_x: negate the x of valid normals. S4T's public code does not do this for Taskonomy,
            which is a defect.
    """
    targets = {name: _mirror(value, mask) for name, value in batch.targets.items()}
    if "normals" in targets and negate_x:
        for sample in mask.nonzero()[:, 0].tolist():
            normals = targets["normals"][sample]  # (3, H, W), of the new batch
            normals[0] = torch.where((normals != IGNORE).any(dim=0), -normals[0], normals[0])
    return Batch(_mirror(batch.images, mask), targets)


def nudged(batch: Batch, offsets: Tensor, fill: Mapping[str, float]) -> Batch:
    """Return the batch with each sample moved up and left by 0 or 1 pixel.

    Args:
        offsets: (B, 2) int64, rows and columns.
        fill: task -> value of the missing row and column; images are filled with 0.
    """
    targets = {name: _nudge(value, offsets, fill[name]) for name, value in batch.targets.items()}
    return Batch(_nudge(batch.images, offsets, 0.0), targets)


def _nudge(values: Tensor, offsets: Tensor, fill: float) -> Tensor:
    moved = torch.full_like(values, fill)
    for sample, (down, right) in enumerate(offsets.tolist()):
        rest = values[sample, ..., down:, right:]
        moved[sample, ..., : rest.shape[-2], : rest.shape[-1]] = rest
    return moved


def _mirror(values: Tensor, mask: Tensor) -> Tensor:
    # sample by sample: to flip all of them and to choose would read and write the memory twice
    pairs = zip(values, mask.tolist(), strict=True)
    return torch.stack([value.flip(-1) if mirrored else value for value, mirrored in pairs])
