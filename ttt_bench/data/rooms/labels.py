"""Derived ground truth: occlusion edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ttt_bench.data.rooms.cast import Triple

JUMP = 0.3  # a step in depth, as a share of the depth


def edges(depth: Tensor, normal: Triple, x: Tensor, y: Tensor) -> Tensor:
    """Return occlusion edges (B, H, W) bool.

    For each pair of horizontal or vertical neighbours, the plane of each pixel (its depth and
    normal) predicts the depth of the other. A pair is *separated* if both predictions are wrong by
    more than `JUMP` of the depth. So a floor at a grazing angle is not an edge, nor is the border
    of two planes that touch. Both pixels of a separated pair and all pixels that touch them are
    edges. This band is four pixels wide, one cell of a network that predicts at a quarter of the
    resolution, which could not resolve a thinner line.

    Args:
        depth: (B, H, W).
        normal: three (B, H, W).
        x: (B, H, W), x of the rays.
        y: (B, H, W), y of the rays.
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
    """Return whether the plane at `a` predicts another depth than the one at `b`."""
    depth, nx, ny, nz, x, y = a
    other, x2, y2 = b[0], b[4], b[5]
    here = nx * x + ny * y + nz
    there = nx * x2 + ny * y2 + nz
    # the prediction is depth * here / there, multiplied out: a plane seen edge-on predicts nothing
    return (depth * here - other * there).abs() > JUMP * torch.minimum(depth, other) * there.abs()
