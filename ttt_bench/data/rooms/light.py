"""Light: one lamp with shadows, and ambient light."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.data.rooms.cast import INTERSECT, Rays, Triple
from ttt_bench.data.rooms.furniture import Kind
from ttt_bench.data.rooms.pack import Columns, Tables, gather, where
from ttt_bench.data.rooms.surface import Surface

LIFT = 0.012  # metres from the surface to the start of a shadow ray
SLACK = 1e-4  # added to a cosine
GAIN = 1.9  # factor on the lamp; a white wall at two metres is nearly white


def shade(tables: Tables, rays: Rays, surface: Surface) -> Triple:
    """Return the linear light (red, green, blue) from every pixel's surface, each (N,) float32."""
    lamp = gather(tables.lamp, rays.image)
    to_lamp = [lamp[i] - surface.position[i] for i in range(3)]
    squared = to_lamp[0] * to_lamp[0] + to_lamp[1] * to_lamp[1] + to_lamp[2] * to_lamp[2]
    facing = (
        to_lamp[0] * surface.normal[0]
        + to_lamp[1] * surface.normal[1]
        + to_lamp[2] * surface.normal[2]
    )
    slope = (facing / squared.clamp(min=1e-6).sqrt()).clamp(min=0.0)
    slope.index_fill_(0, shadowed(tables, surface, lamp, slope > 0), 0.0)
    direct = slope * GAIN / (1.0 + squared / lamp[9])
    up = gather(tables.up, rays.image)
    rise = surface.normal[0] * up[0] + surface.normal[1] * up[1] + surface.normal[2] * up[2]
    around = (0.75 + 0.25 * rise) * surface.open

    def channel(c: int) -> Tensor:
        return surface.colour[c] * (lamp[3 + c] * (direct + surface.glow) + lamp[6 + c] * around)

    return channel(0), channel(1), channel(2)


def shadowed(tables: Tables, surface: Surface, lamp: Columns, wanted: Tensor) -> Tensor:
    """Return the pixels in shadow among those `wanted` (N,) bool; some may be repeated."""
    start = [surface.position[i] + LIFT * surface.normal[i] for i in range(3)]
    to_lamp = [lamp[i] - start[i] for i in range(3)]
    pixel, caster = _lamp_cones(tables, to_lamp, wanted)
    dark = []
    for kind in (Kind.BOX, Kind.CYLINDER, Kind.BALL):
        chosen = where(tables.kind.index_select(0, caster) == kind)
        at, who = gather((pixel, caster), chosen)
        m = gather(tables.frames, who)
        (x, y, z), (dx, dy, dz) = gather(start, at), gather(to_lamp, at)
        origin = tuple(
            m[9 + j] + (m[3 * j] * x + m[3 * j + 1] * y + m[3 * j + 2] * z) for j in range(3)
        )
        direction = tuple(m[3 * j] * dx + m[3 * j + 1] * dy + m[3 * j + 2] * dz for j in range(3))
        share = INTERSECT[kind](origin, direction, m[12])  # type: ignore[arg-type]
        dark.append(at.index_select(0, where((share > 0) & (share < 1))))
    return torch.cat(dark)


def _lamp_cones(tables: Tables, to_lamp: list[Tensor], wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return (pixel, primitive) pairs where a bounding sphere may hide the pixel from its lamp.

    The pixel is in the cone in which the lamp sees the sphere. Additional pairs do not change the
    image, so a matrix product is allowed here; cones are widened by more than its rounding.
    """
    images = len(tables.fov)
    casters = np.flatnonzero(tables.casts)
    image = tables.image.numpy()[casters]
    offset = [tables.centre[i][casters] - tables.lamp[i].numpy()[image] for i in range(3)]
    far = np.sqrt(offset[0] * offset[0] + offset[1] * offset[1] + offset[2] * offset[2])
    ratio = np.minimum(tables.radius[casters] / far, 1.0)
    cosine = np.where(ratio < 1.0, np.sqrt(1.0 - ratio * ratio) - SLACK, -1.0 - SLACK)
    cones = torch.from_numpy(
        np.stack([*(-axis / far for axis in offset), -cosine], axis=1).astype(np.float32)
    )

    x, y, z = to_lamp
    length = (x * x + y * y + z * z).sqrt()
    # a ray of length zero is in no cone
    beams = torch.stack([x, y, z, length]).mul_(wanted.to(torch.float32)).view(4, images, -1)
    pixels: list[NDArray[np.int64]] = []
    owners: list[NDArray[np.int64]] = []
    for number in range(images):
        own = np.flatnonzero(image == number)
        if len(own) == 0:
            continue
        inside = (cones[own] @ beams[:, number]).numpy() > 0
        found = [np.flatnonzero(line) for line in inside]
        pixels += [places + number * beams.shape[2] for places in found]
        owners.append(np.repeat(casters[own], [len(places) for places in found]))
    if not pixels:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    return torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(np.concatenate(owners))
