"""Ground truth that is derived: occlusion edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ttt_bench.data.rooms.cast import Triple

JUMP = 0.3  # a step in depth, as a share of the depth


def edges(depth: Tensor, normal: Triple, x: Tensor, y: Tensor) -> Tensor:
    """Occlusion edges (B, H, W) bool from depth, normals and the rays' x and y, each (B, H, W).

    The rule, for each pair of pixels beside or above each other: each one's plane (its depth and normal) predicts the
    depth of the other. The pair is *separated* where both predictions are off by more than `JUMP` of the depth (so a
    grazing floor is no edge, nor is a plane that ends where another begins). Both pixels of a separated pair and all
    that touch them are edges: a band four pixels wide, which is one cell of a network that predicts at a quarter of
    the resolution. A thinner line cannot be told from none at that resolution.
    """
    marked = torch.zeros_like(depth)
    for axis in (1, 2):
        count = depth.shape[axis] - 1
        if count < 1:
            continue
        a = [value.narrow(axis, 0, count) for value in (depth, *normal, x, y)]
        b = [value.narrow(axis, 1, count) for value in (depth, *normal, x, y)]
        separated = (_misses(a, b) & _misses(b, a)).to(marked.dtype)
        for start in (0, 1):
            part = marked.narrow(axis, start, count)
            part.copy_(torch.maximum(part, separated))
    return F.max_pool2d(marked[:, None], 3, stride=1, padding=1)[:, 0] > 0


def _misses(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Whether the plane at `a` predicts another depth than the one at `b`."""
    depth, nx, ny, nz, x, y = a
    other, x2, y2 = b[0], b[4], b[5]
    here = nx * x + ny * y + nz
    there = nx * x2 + ny * y2 + nz
    # depth * here / there is the prediction; multiplied out, so that a plane seen edge-on predicts nothing.
    return (depth * here - other * there).abs() > JUMP * torch.minimum(depth, other) * there.abs()
