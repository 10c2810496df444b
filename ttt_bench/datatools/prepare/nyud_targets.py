"""Derive NYUD-v2's edges from labels and its normals from depth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.data.images.geometry import facing_normals, surface_slopes
from ttt_bench.data.images.normals import NYUD_AXES, to_harness
from ttt_bench.data.nyud.camera import CENTRE, FOCAL

RADIUS = 4
"""Planes are fitted to windows of 9x9 pixels."""

MOST_BEND = 0.01
"""Share by which inverse depth may differ from its plane; more is a discontinuity of depth."""

EDGES_RULE = "boundaries between labels and instances, not the HED release's"
NORMALS_RULE = (
    f"planes fitted to in-filled depth in windows of {2 * RADIUS + 1}x{2 * RADIUS + 1} pixels, "
    "missing at discontinuities of depth; noisier than the published maps"
)


def label_boundaries(labels: NDArray[np.uint16], instances: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the edge pixels (H, W) between objects.

    A pixel is an edge if the 2x2 block to its lower right contains more than one object.

    Args:
        labels: (H, W) class ids.
        instances: (H, W) numbers that separate the objects of a class.
    """
    things = labels.astype(np.uint32) * 256 + instances
    below = np.pad(things, ((0, 1), (0, 1)), mode="edge")
    return np.asarray(
        (below[1:, :-1] != things) | (below[:-1, 1:] != things) | (below[1:, 1:] != things),
        dtype=np.bool_,
    )


def depth_normals(metres: NDArray[Any]) -> NDArray[np.uint8]:
    """Return normals (480, 640, 3) from in-filled depth (480, 640) in metres.

    The result is an 8-bit map in the axes `NYUD_AXES`; missing normals are 128.
    """
    slopes, kept = surface_slopes(metres, metres > 0, CENTRE, RADIUS, MOST_BEND)
    # each axis is only reversed, so the conversion is its own inverse; (3, H, W) -> (H, W, 3)
    stored = to_harness(facing_normals(slopes, FOCAL), NYUD_AXES).transpose(1, 2, 0)
    return np.where(kept[..., None], np.rint(127.5 + 127.5 * stored), 128).astype(np.uint8)
