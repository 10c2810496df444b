"""The inside of an empty room in closed form: floor, ceiling and three walls, seen by a pinhole
camera.

Every direction of a normal occurs, so that there is just one way to read a normal map of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FLOOR, CEILING, LEFT, RIGHT, BACK = range(5)
_PLANES = {  # unit normal into the room (x right, y down, z forward), distance of the plane along it
    FLOOR: ((0, -1, 0), -1.3),
    CEILING: ((0, 1, 0), -1.4),
    LEFT: ((1, 0, 0), -1.5),
    RIGHT: ((-1, 0, 0), -1.8),
    BACK: ((0, 0, -1), -4.0),
}


@dataclass(frozen=True)
class Inside:
    """What is seen.

    Attributes:
        metres: (H, W) depth along the optical axis.
        vectors: (3, H, W) normals, x right, y down, z forward.
        surface: (H, W) which surface.
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
    """A view of (H, W), the camera turned to the right by an angle in radians; 70 degrees wide
    unless told else.
    """
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
    """(3, H, W) right / down / forward -> (H, W, 3) as a file with these axes holds them."""
    return np.stack(
        [sign * vectors[axis] for axis, sign in (_WORDS[word] for word in axes.split(" / "))],
        axis=-1,
    )


def as_picture(vectors: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(H, W, 3) vectors as an 8-bit normal map."""
    return np.rint(127.5 + 127.5 * vectors).astype(np.uint8)
