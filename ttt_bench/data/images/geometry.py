"""Surface normals from a depth map. Imports no torch.

In a pinhole camera, inverse depth of a plane is a linear function of the pixel. So a linear fit of
inverse depth over a window is an exact fit of a plane at any angle. The unit of depth cancels. The
focal length is only a factor of the normal's first two components, so one fit serves for many
fields of view.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.normals import Floats, Mask

Point = tuple[float, float]
"""(x, y) in pixels."""


def middle(size: tuple[int, ...]) -> Point:
    """Return the centre of an image (H, W), the principal point of an uncalibrated camera."""
    return (size[1] - 1) / 2, (size[0] - 1) / 2


def focal_length(width: int, degrees: float) -> float:
    """Return the focal length in pixels of a camera with a horizontal field of view in degrees."""
    return float(width / 2 / np.tan(np.radians(degrees / 2)))


def surface_slopes(
    depth: NDArray[Any], valid: Mask, centre: Point, radius: int, most_bend: float
) -> tuple[NDArray[np.float64], Mask]:
    """Fit a plane to the window around each pixel.

    Args:
        depth: (H, W) along the optical axis, in any unit; positive where valid.
        valid: (H, W).
        centre: the principal point.
        radius: windows have 2 radius + 1 rows and columns.
        most_bend: largest deviation of inverse depth from the plane, as a share of its mean (root
            mean square over the window). Pixels with a larger one, such as at a jump of depth, get
            no normal.

    Returns:
        The planes (3, H, W) for `facing_normals`, and whether each pixel has one (H, W).
    """
    height, width = depth.shape
    inverse = np.where(valid, 1.0 / np.where(valid, depth, 1.0), 0.0)
    steps = np.arange(-radius, radius + 1)
    flat, slope = np.full(len(steps), 1.0 / len(steps)), steps / (steps @ steps)
    mean = _filtered(inverse, flat, flat)
    across, down = _filtered(inverse, flat, slope), _filtered(inverse, slope, flat)
    spread = (
        _filtered(inverse**2, flat, flat)
        - mean**2
        - (steps @ steps) / len(steps) * (across**2 + down**2)
    )
    whole = _filtered(valid.astype(np.float64), flat, flat) > 1.0 - 1e-9
    kept = whole & (spread <= (most_bend * mean) ** 2)
    right = np.arange(radius, width - radius) - centre[0]
    below = (np.arange(radius, height - radius) - centre[1])[:, None]
    planes = np.stack([-across, -down, -(mean - right * across - below * down)])
    border = (radius, radius)
    return np.pad(planes, ((0, 0), border, border)), np.pad(kept, border)


def facing_normals(slopes: NDArray[np.float64], focal: Point) -> Floats:
    """Return (3, ...) unit normals towards the camera (x right, y down, z forward).

    Args:
        slopes: (3, ...) planes of `surface_slopes`.
        focal: the focal lengths in pixels.
    """
    scaled = slopes * np.array([*focal, 1.0]).reshape(3, *[1] * (slopes.ndim - 1))
    length = np.sqrt(np.square(scaled).sum(axis=0))
    found: Floats = (scaled / np.where(length > 0, length, 1.0)).astype(np.float32)
    return found


def _filtered(
    values: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> Any:
    """Return the correlation with a separable filter, where it fits into the image."""
    high, wide = values.shape[0] - len(rows) + 1, values.shape[1] - len(columns) + 1
    partial = sum(weight * values[at : at + high] for at, weight in enumerate(rows))
    return sum(weight * partial[:, at : at + wide] for at, weight in enumerate(columns))
