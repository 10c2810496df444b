"""A made map of learning rates by steps, with known peaks."""

from __future__ import annotations

import numpy as np

from ttt_bench.stats.rate_maps import RateMap


def example_map() -> RateMap:
    """Return a map whose rate 1e-1 diverged with 3 steps, and whose edge only seems to gain."""
    nan = float("nan")
    values = {
        "delta_ttt": [[0, 0], [0.5, 1.0], [1.0, 2.6], [2.0, 3.0], [1.0, 2.5], [-9.0, nan]],
        "semseg": [[0, 0], [1.0, 1.0], [2.0, -1.0], [-1.0, -3.0], [-2.0, -5.0], [-9.0, nan]],
        "depth": [[0, 0], [0.1, 0.2], [0.2, 1.0], [1.0, 4.0], [3.0, 6.0], [-9.0, nan]],
        "edge": [[1, 1], [1.001, 1.002], [1.006, 1.0], [0.5, 0.2], [0.1, 0.0], [-9.0, nan]],
    }
    return RateMap(
        pair="rooms:rooms-mix",
        method="tent",
        chosen=1e-3,
        rates=(0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
        steps=(1, 3),
        changes={name: np.array(points, dtype=float) for name, points in values.items()},
    )
