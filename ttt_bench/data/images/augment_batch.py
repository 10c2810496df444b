"""Changes of a batch that its targets follow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ttt_bench.network import Batch
from ttt_bench.tasks import IGNORE


def coin(count: int, draw: torch.Generator) -> Tensor:
    """(count,) bool, each true with probability 1/2."""
    return torch.rand(count, generator=draw) < 0.5


def hflip(batch: Batch, mask: Tensor, negate_x: bool = True) -> Batch:
    """Mirror left and right the samples where `mask` (B,) bool is true.

    Images and every target are mirrored; the x of a normal changes its sign, except where there is
    no normal (255). Without `negate_x` it keeps its sign, which is wrong, but what S4T's public
    code does on Taskonomy.
    """
    targets = {name: _mirror(value, mask) for name, value in batch.targets.items()}
    if "normals" in targets and negate_x:
        for sample in mask.nonzero()[:, 0].tolist():
            normals = targets["normals"][sample]  # of the new batch
            normals[0] = torch.where((normals != IGNORE).any(dim=0), -normals[0], normals[0])
    return Batch(_mirror(batch.images, mask), targets)


def nudged(batch: Batch, offsets: Tensor, fill: Mapping[str, float]) -> Batch:
    """Move each sample up and left by 0 or 1 pixel, `offsets` (B, 2) int64; the line that is
    missing then is filled.

    Args:
        fill: what a line of zeros in the file becomes, of each task; the image's is 0.
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
    # one by one, since a flip of all of them and a choice would pass over the memory twice as often
    pairs = zip(values, mask.tolist(), strict=True)
    return torch.stack([value.flip(-1) if mirrored else value for value, mirrored in pairs])
