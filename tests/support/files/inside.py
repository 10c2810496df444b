"""An empty room in closed form: floor, ceiling and three walls, seen by a pinhole camera.

Every direction of a normal occurs, so that a normal map of it determines its axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOOR, CEILING, LEFT, RIGHT, BACK = range(5)
# unit normal into the room (x right, y down, z forward), and the plane's distance along it
_PLANES = {
    FLOOR: ((0, -1, 0), -1.3),
    CEILING: ((0, 1, 0), -1.4),
    LEFT: ((1, 0, 0), -1.5),
    RIGHT: ((-1, 0, 0), -1.8),
    BACK: ((0, 0, -1), -4.0),
}


@dataclass(frozen=True)
class Inside:
    """A view of the room.

    Attributes:
        metres: (H, W) depth along the optical axis.
        vectors: (3, H, W) normals, x right, y down, z forward.
        surface: (H, W) number of the visible surface.
    """

    metres: NDArray[np.float64]
    vectors: NDArray[np.float64]
    surface: NDArray[np.intp]


def inside(
    size: tuple[int, int],
    focal: tuple[float, float] | None = None,
    centre: tuple[float, float] | None = None,
    turned: float = 0.1,
) -> Inside:
    """Return a view (H, W), 70 degrees wide by default; `turned` is the camera's yaw in radians."""
    height, width = size
    length = width / 2 / np.tan(np.radians(35))
    fx, fy = focal or (length, length)
    x0, y0 = centre or ((width - 1) / 2, (height - 1) / 2)
    x, y = np.meshgrid((np.arange(width) - x0) / fx, (np.arange(height) - y0) / fy)
    rays = np.stack([x, y, np.ones_like(x)])
    turn = np.array(
        [[np.cos(turned), 0, -np.sin(turned)], [0, 1, 0], [np.sin(turned), 0, np.cos(turned)]]
    )
    metres = np.full(size, np.inf)
    vectors, surface = np.zeros((3, *size)), np.zeros(size, np.intp)
    for number, (normal, distance) in _PLANES.items():
        seen = turn @ np.array(normal, float)
        along = np.einsum("i,ihw->hw", seen, rays)
        depth = np.where(along < 0, distance / np.where(along < 0, along, -1), np.inf)
        nearer = depth < metres
        metres, surface = np.where(nearer, depth, metres), np.where(nearer, number, surface)
        vectors = np.where(nearer, seen[:, None, None], vectors)
    return Inside(metres, vectors, surface)


_WORDS = {
    "right": (0, 1),
    "left": (0, -1),
    "down": (1, 1),
    "up": (1, -1),
    "forward": (2, 1),
    "backward": (2, -1),
}


def stored(vectors: NDArray[np.float64], axes: str) -> NDArray[np.float64]:
    """Return vectors (3, H, W), right / down / forward, as (H, W, 3) in a file's axes."""
    return np.stack(
        [sign * vectors[axis] for axis, sign in (_WORDS[word] for word in axes.split(" / "))],
        axis=-1,
    )


def as_picture(vectors: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return vectors (H, W, 3) as an 8-bit normal map."""
    return np.rint(127.5 + 127.5 * vectors).astype(np.uint8)
