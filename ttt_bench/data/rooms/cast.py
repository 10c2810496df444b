"""Ray casting: the primitive and the depth of each pixel.

Not every primitive is tested at every pixel. Each primitive's bounding box is projected, and only
the pixels inside its rectangle are candidates. Only exactly rounded operations are used (no matrix
product, no fused multiply-add), so that a pixel's value does not depend on its position in a
tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ttt_bench.data.rooms.furniture import Kind
from ttt_bench.data.rooms.pack import Tables, gather, where

NEAR = 0.05  # metres; nearer surfaces are invisible
FAR = 1e9
TINY = 1e-12  # replaces a zero in a ray's direction, to avoid division by zero


@dataclass(frozen=True, kw_only=True)
class Rays:
    """The camera's rays (x, y, 1), with N = B * H * W.

    Attributes:
        x: (N,) float32.
        y: (N,) float32.
        image: (N,) int64, the image of each ray.
        size: (H, W).
    """

    x: Tensor
    y: Tensor
    image: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Hits:
    """Depth (N,) float32 in metres, and row of the visible primitive (N,) int64, per pixel."""

    depth: Tensor
    primitive: Tensor


def camera_rays(tables: Tables, size: tuple[int, int]) -> Rays:
    """Return the rays through the centres of the pixels, row by row."""
    height, width = size
    images = len(tables.fov)
    pitch = tables.fov * (2.0 / min(size))  # a pixel's width at depth 1
    columns = torch.arange(width, dtype=torch.float32) + (0.5 - width / 2)
    rows = torch.arange(height, dtype=torch.float32) + (0.5 - height / 2)
    x = (pitch[:, None] * columns)[:, None, :].expand(images, height, width)
    y = (pitch[:, None] * rows)[:, :, None].expand(images, height, width)
    image = torch.arange(images).repeat_interleave(height * width)
    return Rays(x=x.reshape(-1), y=y.reshape(-1), image=image, size=size)


def cast(tables: Tables, rays: Rays) -> Hits:
    """Return the nearest surface on every ray. There is always one, since a room is closed."""
    pixel, candidate, order = _candidates(tables, rays)
    # The upper half of a key is depth (bits of positive floats order like integers), the lower half
    # is the primitive: one minimum, independent of the order, finds both.
    nearest = torch.full((len(rays.x),), torch.iinfo(torch.int64).max)
    start = 0
    for kind, count in order:
        span = slice(start, start + count)
        start += count
        if count == 0:
            continue
        at, who = pixel[span], candidate[span]
        depth = INTERSECT[kind](*_local_rays(tables, who, *gather((rays.x, rays.y), at)))
        hit = where((depth > NEAR) & (depth < FAR))
        key = (
            depth.view(torch.int32).index_select(0, hit).to(torch.int64) << 32
        ) | who.index_select(0, hit)
        nearest.scatter_reduce_(0, at.index_select(0, hit), key, "amin")
    return Hits((nearest >> 32).to(torch.int32).view(torch.float32), nearest & 0xFFFFFFFF)


def _candidates(tables: Tables, rays: Rays) -> tuple[Tensor, Tensor, list[tuple[Kind, int]]]:
    """Return (pixel, primitive) pairs of the projected bounds by kind, and counts per kind."""
    height, width = rays.size
    x, y, z = tables.corners
    images = tables.image.numpy()
    scale = min(rays.size) / (2.0 * tables.fov.numpy().astype(np.float64)[images])
    whole = (z.min(0) < NEAR) | (tables.kind.numpy() == Kind.ROOM)
    behind = z.max(0) < NEAR
    depth = np.maximum(z, NEAR)
    u, v = x / depth * scale + (width / 2 - 0.5), y / depth * scale + (height / 2 - 0.5)

    def bounds(values: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
        low = np.where(whole, 0, np.clip(np.floor(values.min(0)), 0, limit)).astype(np.int64)
        high = np.where(whole, limit, np.clip(np.ceil(values.max(0)) + 1, 0, limit)).astype(
            np.int64
        )
        return low, high

    (left, right), (top, bottom) = bounds(u, width), bounds(v, height)
    columns = np.maximum(right - left, 0)
    lines = np.where(behind | (columns == 0), 0, np.maximum(bottom - top, 0))
    # first one entry per row of each rectangle, then one per pixel; this needs no division
    primitive = np.repeat(np.arange(len(lines)), lines)
    line = np.arange(len(primitive)) - np.repeat(np.cumsum(lines) - lines, lines) + top[primitive]
    run = columns[primitive]
    begin = (
        images[primitive] * (height * width)
        + line * width
        + left[primitive]
        - (np.cumsum(run) - run)
    )
    counts = torch.from_numpy(run)
    pixel = torch.repeat_interleave(torch.from_numpy(begin), counts)
    pixel += torch.arange(len(pixel))
    candidate = torch.repeat_interleave(torch.from_numpy(primitive), counts)
    total = columns * lines
    order = [(kind, int(total[tables.kind.numpy() == kind].sum())) for kind in Kind]
    return pixel, candidate, order


Triple = tuple[Tensor, Tensor, Tensor]
Local = tuple[Triple, Triple, Tensor]


def _local_rays(tables: Tables, primitive: Tensor, x: Tensor, y: Tensor) -> Local:
    """Return origin, direction and taper in the frames of the primitives."""
    m = gather(tables.frames, primitive)
    direction = tuple(m[3 * j] * x + m[3 * j + 1] * y + m[3 * j + 2] for j in range(3))
    return (m[9], m[10], m[11]), direction, m[12]  # type: ignore[return-value]


def _slabs(origin: Triple, direction: Triple) -> tuple[Tensor, Tensor]:
    """Return where a ray enters and leaves the three slabs of the unit box."""
    near, far = zip(*(_slab(o, d) for o, d in zip(origin, direction, strict=True)), strict=True)
    enter = torch.maximum(torch.maximum(near[0], near[1]), near[2])
    return enter, torch.minimum(torch.minimum(far[0], far[1]), far[2])


def _slab(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    inverse = (direction + TINY).reciprocal()
    middle, half = origin * inverse, inverse.abs()
    return -half - middle, half - middle


def intersect_box(origin: Triple, direction: Triple, taper: Tensor) -> Tensor:
    """Return the depth (K,) at which rays enter the unit box, infinite for a miss."""
    enter, leave = _slabs(origin, direction)
    return torch.where(enter < leave, enter, torch.inf)


def intersect_room(origin: Triple, direction: Triple, taper: Tensor) -> Tensor:
    """Return the depth at which rays leave the unit box that they begin in."""
    return _slabs(origin, direction)[1]


def intersect_ball(origin: Triple, direction: Triple, taper: Tensor) -> Tensor:
    """Return the depth at which rays enter the unit ball, infinite for a miss."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    a = dx * dx + dy * dy + dz * dz
    b = ox * dx + oy * dy + oz * dz
    c = ox * ox + oy * oy + oz * oz - 1.0
    inside = b * b - a * c
    return torch.where(inside > 0, (-b - inside.clamp(min=0).sqrt()) / a, torch.inf)


def intersect_cylinder(origin: Triple, direction: Triple, taper: Tensor) -> Tensor:
    """Return the depth at which rays enter a tapered cylinder, infinite for a miss.

    The cylinder is |z| <= 1, x^2 + y^2 <= (1 + taper z)^2 with |taper| < 1. Rays begin outside it.
    """
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    ro, rd = 1.0 + taper * oz, taper * dz
    a = dx * dx + dy * dy - rd * rd
    b = ox * dx + oy * dy - ro * rd
    c = ox * ox + oy * oy - ro * ro
    root = (b * b - a * c).clamp(min=0).sqrt()
    missed = b * b < a * c
    inverse = (a + TINY).reciprocal()
    best = torch.full_like(a, torch.inf)
    for side in ((-b - root) * inverse, (-b + root) * inverse):
        z = oz + side * dz
        best = torch.where(
            (z.abs() <= 1.0) & (side > 0.0) & ~missed, torch.minimum(best, side), best
        )
    # only the nearer cap: rays enter a convex body once
    rising = dz + TINY
    cap = (torch.where(rising > 0, -1.0, 1.0) - oz) / rising
    x, y = ox + cap * dx, oy + cap * dy
    r = torch.where(rising > 0, 1.0 - taper, 1.0 + taper)
    return torch.where((x * x + y * y <= r * r) & (cap > 0.0), torch.minimum(best, cap), best)


INTERSECT: dict[Kind, Callable[[Triple, Triple, Tensor], Tensor]] = {
    Kind.BOX: intersect_box,
    Kind.CYLINDER: intersect_cylinder,
    Kind.BALL: intersect_ball,
    Kind.ROOM: intersect_room,
}
