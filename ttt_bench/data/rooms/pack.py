"""Tables of drawn scenes, from which a chunk of images is rendered together.

Every number of an image comes from scalar Python or from single elementwise operations, never from
a matrix product or a sum over an axis. Those may round differently in another batch, and images
must not depend on their batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from operator import mul

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.data.rooms.furniture import UNLABELLED, Kind
from ttt_bench.data.rooms.scene import Scene

Array = NDArray[np.float64]
Columns = list[Tensor]

SHADOW_SIZE = 0.008
"""Product of the two largest half extents in m2; smaller primitives throw no shadow."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A chunk of B images with P primitives, rooms included, sorted by kind and then by image.

    For a ray r = (x, y, 1) of the camera, the ray of a primitive is `origin + depth * (matrix r)`
    in units of its half extents. So the parameter of every intersection is the depth along the
    optical axis.

    Attributes:
        frames: thirteen (P,) float32: matrix (row by row, 9), origin (3), taper.
        half: three (P,) half extents in metres.
        kind: (P,) int64.
        image: (P,) int64.
        label: (P,) int64.
        material: (P,) int64; a room's material is the first of its six.
        corners: three (8, P) float64, x, y and z of the bounding boxes' corners in the camera
            frame.
        centre: (3, P) float64 in the camera frame.
        radius: (P,) radius of the bounding sphere.
        casts: (P,) bool, whether it throws a shadow.
        materials: twelve (M,) float32, see `style.Material`.
        fov: (B,) tangent of half the angle of view across the shorter side.
        up: three (B,), the world's up in the camera frame.
        eye: (B,) the camera's height in metres.
        lamp: ten (B,): position in the camera frame, power and ambient light (both times the
            exposure), reach.

    Tables are columns because gathering from a column is several times faster than from rows.
    """

    frames: Columns
    half: Columns
    kind: Tensor
    image: Tensor
    label: Tensor
    material: Tensor
    corners: tuple[Array, Array, Array]
    centre: Array
    radius: Array
    casts: NDArray[np.bool_]
    materials: Columns
    fov: Tensor
    up: Columns
    eye: Tensor
    lamp: Columns


def pack(scenes: Sequence[Scene]) -> Tables:
    """Return the tables of these scenes."""
    primitives: list[tuple[float, ...]] = []
    owners: list[tuple[float, ...]] = []
    materials: list[tuple[float, ...]] = []
    counts: list[int] = []
    for image, scene in enumerate(scenes):
        width, length, height = (extent / 2 for extent in scene.room)
        primitives.append((Kind.ROOM, 0, 0.0, length, height, width, length, height, 0.0, 1.0, 0.0))
        owners.append((image, UNLABELLED, len(materials), 0.0, 0.0, 0.0, 0.0, 1.0, 0.0))
        counts.append(1)
        materials += scene.room_materials
        for placed in scene.placed:
            primitives += placed.piece.primitives
            owners.append(
                (
                    image,
                    placed.piece.label,
                    len(materials),
                    *placed.position,
                    *placed.turn,
                    float(placed.shadow),
                )
            )
            counts.append(len(placed.piece.primitives))
            materials += placed.materials
    rows = np.concatenate(
        [np.array(primitives), np.repeat(np.array(owners), counts, axis=0)], axis=1
    )
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    return _tables(rows.T.copy(), np.array(materials), scenes)


def _dot(a: Sequence[Array], b: Sequence[Array]) -> Array:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _tables(rows: Array, materials: Array, scenes: Sequence[Scene]) -> Tables:
    (
        kind,
        slot,
        x,
        y,
        z,
        hx,
        hy,
        hz,
        sp,
        cp,
        taper,
        image,
        label,
        material,
        px,
        py,
        pz,
        s,
        c,
        shadow,
    ) = rows
    number = image.astype(np.int64)
    views = np.array([(*scene.view.position, *sum(scene.view.axes, ())) for scene in scenes]).T
    eye = views[:3]
    axes = [views[3:6], views[6:9], views[9:12]]
    half = (hx, hy, hz)

    zero = np.zeros_like(s)
    own_axes = ((c, s, zero), (-s * cp, c * cp, sp), (s * sp, -c * sp, cp))
    seen = [(axis[0][number], axis[1][number], axis[2][number]) for axis in axes]
    from_eye = (
        px + c * x - s * y - eye[0][number],
        py + s * x + c * y - eye[1][number],
        pz + z - eye[2][number],
    )
    centre: list[Array] = [_dot(from_eye, axis) for axis in seen]
    turned = [_dots(own, seen) for own in own_axes]
    origin = [-_dot(own, from_eye) / extent for own, extent in zip(own_axes, half, strict=True)]
    frames = [turned[j][i] / half[j] for j in range(3) for i in range(3)] + origin + [taper]

    wide = 1.0 + np.abs(taper)
    reach = (hx * wide, hy * wide, hz)
    coordinates = zip(centre, zip(*turned, strict=True), strict=True)
    corners = tuple(_corners(middle, axes_of, reach) for middle, axes_of in coordinates)
    largest = np.maximum(np.maximum(hx * hy, hx * hz), hy * hz)
    lamp = np.array([_lamp_row(scene) for scene in scenes])
    return Tables(
        frames=_columns(frames),
        half=_columns(half),
        kind=_whole(kind),
        image=_whole(image),
        label=_whole(label),
        material=_whole(material + slot),
        corners=corners,  # type: ignore[arg-type]
        centre=np.stack(centre),
        radius=np.sqrt(_dot(reach, reach)),
        casts=(shadow > 0) & (largest > SHADOW_SIZE),
        materials=_columns(materials.T),
        fov=_single(np.array([scene.view.half_tangent for scene in scenes])),
        up=_columns([axis[2] for axis in axes]),
        eye=_single(eye[2]),
        lamp=_columns(lamp.T),
    )


def _dots(vector: Sequence[Array], axes: Sequence[Sequence[Array]]) -> list[Array]:
    """Return the products of a vector with each axis, (P,) each."""
    return [_dot(vector, axis) for axis in axes]


def _corners(centre: Array, axes: Sequence[Array], reach: Sequence[Array]) -> Array:
    """Return one coordinate of the bounding boxes' corners, (8, P).

    Args:
        centre: (P,), the coordinate of the centres.
        axes: three (P,), the coordinate of the boxes' axes.
        reach: three (P,), the half extents along the axes.
    """
    corners = []
    for signs in product((-1, 1), repeat=3):
        terms = (signs[j] * reach[j] * axes[j] for j in range(3))
        corners.append(centre + sum(terms))
    return np.stack(corners)


def _lamp_row(scene: Scene) -> tuple[float, ...]:
    """Return the lamp in the camera frame, its light times the exposure."""
    lamp, view = scene.lamp, scene.view
    offset = [a - b for a, b in zip(lamp.position, view.position, strict=True)]
    position = [sum(map(mul, offset, axis)) for axis in view.axes]
    return (
        *position,
        *(lamp.exposure * value for value in (*lamp.power, *lamp.ambient)),
        lamp.reach,
    )


def gather(columns: Sequence[Tensor], rows: Tensor) -> Columns:
    """Return these rows of every column."""
    return [column.index_select(0, rows) for column in columns]


def where(mask: Tensor) -> Tensor:
    """Return the indices where a flat mask is true; NumPy is several times faster than torch."""
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def _columns(values: Sequence[Array] | Array) -> Columns:
    return [_single(column) for column in values]


def _single(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _whole(values: Array) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))
