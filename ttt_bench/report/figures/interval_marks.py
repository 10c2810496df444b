"""Intervals in figures: axes that a very long one does not stretch, and arrows where it is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

Array = NDArray[np.float64]

REACH = 1.0
"""Longest part of an interval beyond the values that is shown, relative to their range."""
MARGIN = 0.05
"""Free part of an axis at each end, relative to its range."""


def limits(values: Array, low: Array, high: Array) -> tuple[float, float]:
    """Return the ends of an axis that shows all values, and intervals up to `REACH` beyond them.

    Args:
        values: the values, at least one of which is finite.
        low, high: the ends of the intervals; NaN without one.
    """
    first, last = np.nanmin(values), np.nanmax(values)
    room = REACH * (last - first) or 1.0
    left = max(np.nanmin([first, *low]), first - room)
    right = min(np.nanmax([last, *high]), last + room)
    margin = MARGIN * (right - left or room)
    return float(left - margin), float(right + margin)


def draw_intervals(ax: Axes, low: Array, high: Array, **look: Any) -> None:
    """Draw horizontal intervals at heights 0, 1, ...; one that the axis cuts ends with an arrow.

    The limits of the axis must be set.

    Args:
        low, high: the ends of the intervals, (n,); NaN without one.
        look: colour, line width and so on of the lines.
    """
    left, right = ax.get_xlim()
    heights = np.arange(len(low))
    lines = ax.hlines(heights, np.maximum(low, left), np.minimum(high, right), **look)
    lines.set_gid("intervals")
    arrows = {"linestyle": "", "clip_on": False, "color": look["colors"], "markersize": 4}
    arrows |= {"zorder": look.get("zorder", 2), "gid": "cut"}
    for marker, end, cut in (("<", left, low < left), (">", right, high > right)):
        if cut.any():
            ax.plot(np.full(int(cut.sum()), end), heights[cut], marker=marker, **arrows)
