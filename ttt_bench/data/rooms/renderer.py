"""Render images with all their labels: a pure function of (look, seed, indices, size)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ttt_bench.data.rooms.cast import camera_rays, cast
from ttt_bench.data.rooms.labels import edges
from ttt_bench.data.rooms.light import shade
from ttt_bench.data.rooms.looks import Look
from ttt_bench.data.rooms.pack import pack
from ttt_bench.data.rooms.scene import Scene, draw
from ttt_bench.data.rooms.sensor import develop
from ttt_bench.data.rooms.surface import surfaces
from ttt_bench.network import Batch


def render(look: Look, seed: int, indices: Sequence[int], size: tuple[int, int]) -> Batch:
    """Return the images at `indices` of the sequence of (look, seed), with (H, W) = `size` pixels.

    An image depends only on (look, seed, its index, size), not on the batch. Images are multiples
    of 1/255. Labels are exact and every pixel has them, except that `semseg` is 255 outside the
    seven classes.
    """
    return render_scenes([draw(look, seed, index) for index in indices], look, seed, indices, size)


@torch.no_grad()
def render_scenes(
    scenes: Sequence[Scene], look: Look, seed: int, indices: Sequence[int], size: tuple[int, int]
) -> Batch:
    """Return images and labels of drawn scenes."""
    height, width = size
    tables = pack(scenes)
    rays = camera_rays(tables, size)
    hits = cast(tables, rays)
    surface = surfaces(tables, rays, hits)
    light = shade(tables, rays, surface)

    def grid(values: Tensor) -> Tensor:
        return values.view(len(scenes), height, width)

    depth, normal = grid(hits.depth), tuple(grid(axis) for axis in surface.normal)
    edge = edges(depth, normal, grid(rays.x), grid(rays.y))  # type: ignore[arg-type]
    pictures = torch.stack([grid(channel) for channel in light], dim=1)
    targets = {
        "semseg": grid(tables.label.index_select(0, hits.primitive)),
        "depth": depth[:, None],
        "normals": torch.stack(normal, dim=1),
        "edge": edge[:, None].to(torch.float32),
    }
    return Batch(develop(pictures, scenes, look, seed, indices), targets)
