"""The visible surface at every pixel: its normal, and its colour before light."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ttt_bench.data.rooms.cast import Hits, Rays, Triple
from ttt_bench.data.rooms.furniture import Kind
from ttt_bench.data.rooms.pack import Columns, Tables, gather
from ttt_bench.data.rooms.style import Texture

GRAIN_SIZE = 256
GRAIN_TEXELS = 4.0  # of the grain's table in one repeat
BASEBOARD = 0.09  # metres


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The surface of every pixel, (N,) each.

    Attributes:
        normal: unit normals towards the camera.
        position: in metres, in the camera frame.
        colour: linear RGB.
        glow: emitted light.
        open: the share of ambient light that is not blocked by corners.
    """

    normal: Triple
    position: Triple
    colour: Triple
    glow: Tensor
    open: Tensor


def surfaces(tables: Tables, rays: Rays, hits: Hits) -> Surface:
    """Return the surface at every pixel."""
    m = gather(tables.frames, hits.primitive)
    kind, first_material = gather((tables.kind, tables.material), hits.primitive)
    local = tuple(
        m[9 + j] + hits.depth * (m[3 * j] * rays.x + m[3 * j + 1] * rays.y + m[3 * j + 2])
        for j in range(3)
    )
    axis, gradient = _gradients(local, m[12], kind)  # type: ignore[arg-type]
    normal = _unit(
        tuple(
            m[i] * gradient[0] + m[3 + i] * gradient[1] + m[6 + i] * gradient[2] for i in range(3)
        )
    )
    position = (hits.depth * rays.x, hits.depth * rays.y, hits.depth)
    facing = normal[0] * position[0] + normal[1] * position[1] + normal[2] * position[2]
    # rounding at an outline can choose the face next to the one that was hit
    flip = torch.where(facing > 0, -1.0, 1.0)
    normal = (normal[0] * flip, normal[1] * flip, normal[2] * flip)

    half = gather(tables.half, hits.primitive)
    room = kind == Kind.ROOM
    metres = tuple(local[j] * half[j] for j in range(3))
    face = torch.where(
        room,
        2 * axis + (local[0] * (axis == 0) + local[1] * (axis == 1) + local[2] * (axis == 2) > 0),
        0,
    )
    material = gather(tables.materials, first_material + face)
    across, along = _texture_plane(metres, half, axis, room)  # type: ignore[arg-type]
    away = (
        position[0] * position[0] + position[1] * position[1] + position[2] * position[2]
    ).sqrt()
    pixel = (tables.fov * (2.0 / min(rays.size))).index_select(0, rays.image)
    footprint = hits.depth * pixel * away / facing.abs().clamp(min=1e-3)
    mix = _pattern(material, across, along, footprint) * material[10]
    colour = [
        (material[c] + (material[3 + c] - material[c]) * mix).clamp(min=0.004) for c in range(3)
    ]
    skirting = room & (axis != 2) & (metres[2] + half[2] < BASEBOARD)
    colour = [torch.where(skirting, 0.72, channel) for channel in colour]
    eye, *up = gather((tables.eye, *tables.up), rays.image)
    height = eye + position[0] * up[0] + position[1] * up[1] + position[2] * up[2]
    inside = _room_clearance(local, half, axis)  # type: ignore[arg-type]
    clear = torch.where(room, inside, _floor_clearance(height))
    return Surface(
        normal=normal,
        position=position,
        colour=tuple(colour),  # type: ignore[arg-type]
        glow=material[11],
        open=clear,
    )


def _unit(v: tuple[Tensor, ...]) -> Triple:
    length = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).sqrt().clamp(min=1e-12)
    return v[0] / length, v[1] / length, v[2] / length


def _gradients(local: Triple, taper: Tensor, kind: Tensor) -> tuple[Tensor, Triple]:
    """Return the axis of the face that was hit, and a vector along its outward normal.

    The vector is in the primitive's frame.
    """
    x, y, z = local
    ax, ay, az = x.abs(), y.abs(), z.abs()
    axis = torch.where(ax >= ay, torch.where(ax >= az, 0, 2), torch.where(ay >= az, 1, 2))
    round_ = (kind == Kind.BALL) | (kind == Kind.CYLINDER)
    wide = 1.0 + taper * z
    side = (x * x + y * y) > z * z * wide * wide
    sign = torch.where(kind == Kind.ROOM, -1.0, 1.0)
    flat = [torch.where(axis == j, torch.where(local[j] > 0, sign, -sign), 0.0) for j in range(3)]
    cylinder = kind == Kind.CYLINDER
    cap = torch.where(z > 0, 1.0, -1.0)
    gx = torch.where(round_, torch.where(cylinder & ~side, 0.0, x), flat[0])
    gy = torch.where(round_, torch.where(cylinder & ~side, 0.0, y), flat[1])
    gz = torch.where(
        cylinder, torch.where(side, -taper * wide, cap), torch.where(round_, z, flat[2])
    )
    axis = torch.where(cylinder, torch.where(side, (ay > ax).to(torch.int64), 2), axis)
    return axis, (gx, gy, gz)


def _texture_plane(
    metres: Triple, half: Columns, axis: Tensor, room: Tensor
) -> tuple[Tensor, Tensor]:
    """Return texture coordinates in metres.

    The second one is along the longer extent of the face; on a wall it is upwards.
    """
    first, second = (
        torch.where(axis == 0, metres[1], metres[0]),
        torch.where(axis == 2, metres[1], metres[2]),
    )
    first_half, second_half = (
        torch.where(axis == 0, half[1], half[0]),
        torch.where(axis == 2, half[1], half[2]),
    )
    swap = (first_half > second_half) & ~(room & (axis != 2))
    return torch.where(swap, second, first), torch.where(swap, first, second)


@lru_cache(maxsize=1)
def _grain() -> Tensor:
    """Return a tileable table of smooth noise in [0, 1], (GRAIN_SIZE * GRAIN_SIZE,) float32."""
    values = np.random.Generator(np.random.Philox(key=[7, 7])).random((GRAIN_SIZE, GRAIN_SIZE))
    for axis in (0, 1):
        for shift in (1, 1, 2):
            values = (values + np.roll(values, shift, axis)) / 2
    values = (values - values.min()) / (values.max() - values.min())
    return torch.from_numpy(
        np.clip((values - 0.5) * 1.5 + 0.5, 0, 1).astype(np.float32).reshape(-1)
    )


def _fraction(x: Tensor) -> Tensor:
    return x - x.floor()


def _pattern(material: Columns, across: Tensor, along: Tensor, footprint: Tensor) -> Tensor:
    """Return the share of the second colour, 0 to 1.

    It fades to its mean when a pixel is as large as a repeat.
    """
    texture, repeats = material[6], material[7]
    # repeats are random, so they give each material another offset
    offset = repeats * 57.3
    row = ((across * material[8] + offset) * GRAIN_TEXELS).to(torch.int32) & (GRAIN_SIZE - 1)
    column = ((along * material[9] + offset) * GRAIN_TEXELS).to(torch.int32) & (GRAIN_SIZE - 1)
    noise = _grain().index_select(0, row * GRAIN_SIZE + column)
    s, w = across * repeats + 64.0, along * repeats + 64.0
    fs, fw = _fraction(s), _fraction(w)
    ridge_s, ridge_w = (2.0 * fs - 1.0).abs(), (2.0 * fw - 1.0).abs()
    whole_s, whole_w = s.floor(), w.floor()
    plank = _fraction(whole_s * 0.618)
    joint = _fraction(w * 0.16 + plank * 7.0)
    # lines narrower than a pixel are drawn as faint lines of one pixel
    soft = (2.0 * footprint * repeats).clamp(min=0.06)
    thin = (0.15 / soft).clamp(max=1.0)
    grout = ((torch.maximum(ridge_s, ridge_w) - 0.93) / soft + 0.5).clamp(0.0, 1.0) * thin
    seam = (
        torch.maximum((ridge_s - 0.93) / soft + 0.5, 0.5 - (joint - 0.012) / (0.16 * soft)).clamp(
            0.0, 1.0
        )
        * thin
    )
    shade = _fraction((whole_s * 3.0 + (w * 0.16 + plank * 7.0).floor()) * 0.3819)
    mix = noise
    mix = torch.where(texture == Texture.STRIPES, (ridge_s * 5.0 - 2.0).clamp(0.0, 1.0), mix)
    mix = torch.where(texture == Texture.TILES, grout, mix)
    mix = torch.where(
        texture == Texture.CHECKS,
        (_fraction((whole_s + whole_w) * 0.5) > 0.25).to(torch.float32),
        mix,
    )
    dot = (fs - 0.5) * (fs - 0.5) + (fw - 0.5) * (fw - 0.5) < 0.07
    mix = torch.where(texture == Texture.DOTS, dot.to(torch.float32), mix)
    mix = torch.where(
        texture == Texture.PLANKS, torch.maximum(0.35 * noise + 0.5 * shade, 1.3 * seam), mix
    )
    sharp = (1.5 - 1.5 * footprint * repeats).clamp(0.0, 1.0)
    return 0.4 + (mix - 0.4) * sharp


def _room_clearance(local: Triple, half: Columns, axis: Tensor) -> Tensor:
    """Return the share of ambient light, lower where two or three faces of the room meet."""
    clear = torch.ones_like(local[0])
    for j in range(3):
        gap = (1.0 - local[j].abs()) * half[j] * 4.0
        clear = clear * torch.where(axis == j, 1.0, 1.0 - 0.35 / (1.0 + gap * gap))
    return clear


def _floor_clearance(height: Tensor) -> Tensor:
    """Return the share of ambient light, lower near the floor."""
    rise = height.clamp(min=0.0) * 3.0
    return 1.0 - 0.4 / (1.0 + rise * rise)
