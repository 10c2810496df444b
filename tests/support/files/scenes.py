"""A room corner in closed form, in Taskonomy's native encodings: a tilted wall and a box.

Depth, normals, edges and labels come from the same geometry and a known camera. Nothing here uses
the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FIELD_OF_VIEW = 60.0  # degrees
NO_DEPTH = 65_535
BOX = ((-0.4, 0.4), (0.2, 0.8), (1.5, 2.0))  # metres: x right, y down, z forward
CHAIR, TABLE, BACKGROUND = 3, 7, 1


@dataclass(frozen=True)
class Scene:
    """One view's native arrays.

    Attributes:
        rgb: (N, N, 3) uint8.
        depth: (N, N) uint16, 512 counts per metre, 65535 in `hole` and `beyond`.
        normals: (N, N, 3) uint8, x right, y down, z forward; (128, 128, 128) in `hole`.
        edge: (N, N) uint16.
        labels: (N, N) uint8; all of 0..17, a table's front and a chair on top of it.
        vectors: (3, N, N) the normals before encoding.
        metres: (N, N) the depth before encoding.
        hole: (N, N) no geometry. beyond: (N, N) geometry out of range.
    """

    rgb: NDArray[np.uint8]
    depth: NDArray[np.uint16]
    normals: NDArray[np.uint8]
    edge: NDArray[np.uint16]
    labels: NDArray[np.uint8]
    vectors: NDArray[np.float64]
    metres: NDArray[np.float64]
    hole: NDArray[np.bool_]
    beyond: NDArray[np.bool_]

    @property
    def native(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays by the names of Taskonomy's domains."""
        return {
            "rgb": self.rgb,
            "depth_zbuffer": self.depth,
            "normal": self.normals,
            "edge_occlusion": self.edge,
            "segment_semantic": self.labels,
        }


def rays(size: int, field_of_view: float = FIELD_OF_VIEW) -> NDArray[np.float64]:
    """Return (3, N, N), the direction of each pixel with z = 1."""
    reach = np.tan(np.radians(field_of_view / 2))
    at = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(at * reach, at * reach)
    return np.stack([x, y, np.ones_like(x)])


def scene(size: int = 64, seed: int = 0) -> Scene:
    """Return a view; the seed tilts the wall and draws the texture."""
    draw = np.random.default_rng(seed)
    unit = size // 64
    tilt = np.array([draw.uniform(-0.3, 0.3), draw.uniform(-0.2, 0.2), -1.0])
    wall = tilt / np.linalg.norm(tilt)
    direction = rays(size)
    metres = wall[2] * 3.0 / np.einsum("i,ihw->hw", wall, direction)
    vectors = np.repeat(wall, size * size).reshape(3, size, size)
    labels = np.full((size, size), BACKGROUND, np.uint8)

    entry, axis = _box_entry(direction)
    hit = entry < metres
    metres = np.where(hit, entry, metres)
    vectors = np.where(hit, -np.sign(direction) * (np.arange(3)[:, None, None] == axis), vectors)
    labels[hit] = np.where(axis == 2, TABLE, CHAIR)[hit]
    for number in range(18):
        row, column = divmod(number, 16)
        labels[
            4 * unit * row : 4 * unit * (row + 1), 4 * unit * column : 4 * unit * (column + 1)
        ] = number

    hole, beyond = np.zeros((2, size, size), bool)
    hole[12 * unit : 18 * unit, 8 * unit : 14 * unit] = True
    beyond[12 * unit : 16 * unit, 44 * unit : 48 * unit] = True
    depth = np.where(hole | beyond, NO_DEPTH, np.rint(512 * metres)).astype(np.uint16)
    encoded = (
        np.where(hole, 128, np.rint(127.5 + 127.5 * vectors)).astype(np.uint8).transpose(1, 2, 0)
    )
    shade = 200 * -vectors[2] + draw.uniform(-30, 30, (size, size))
    rgb = np.clip(
        shade[..., None] * [1.0, 0.8, 0.6] * np.where(hit, 0.5, 1.0)[..., None], 0, 255
    ).astype(np.uint8)
    return Scene(rgb, depth, encoded, occlusion_edges(depth), labels, vectors, metres, hole, beyond)


def occlusion_edges(depth: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return the Sobel magnitude of sqrt(d / 65536) times 65535; 0 at and next to invalid depth."""
    root = np.pad(np.sqrt(depth / 65536.0), 1, mode="edge")
    rows = root[:-2] + 2 * root[1:-1] + root[2:]
    columns = root[:, :-2] + 2 * root[:, 1:-1] + root[:, 2:]
    across, down = (rows[:, 2:] - rows[:, :-2]) / 4, (columns[2:] - columns[:-2]) / 4
    invalid = np.pad(depth >= 65036, 1)
    near = np.zeros(depth.shape, bool)
    for dy in range(3):
        for dx in range(3):
            near |= invalid[dy : dy + depth.shape[0], dx : dx + depth.shape[1]]
    return np.where(near, 0, np.rint(65535 * np.sqrt((across**2 + down**2) / 2))).astype(np.uint16)


def normals_from_depth(metres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit normals (3, N, N) towards the camera from a depth map.

    They are central differences of back-projected points.
    """
    points = rays(metres.shape[0]) * metres
    across, down = np.gradient(points, axis=2), np.gradient(points, axis=1)
    normal = np.cross(across, down, axis=0)
    normal /= np.linalg.norm(normal, axis=0)
    return np.where((normal * points).sum(0) > 0, -normal, normal)


def _box_entry(direction: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the depth at which rays enter the box (infinite for a miss), and the face's axis."""
    bounds = np.array(BOX)[:, :, None, None]
    crossings = bounds / direction[:, None]
    near, far = crossings.min(1), crossings.max(1)
    hit = near.max(0) < far.min(0)
    return np.where(hit, near.max(0), np.inf), near.argmax(0)
