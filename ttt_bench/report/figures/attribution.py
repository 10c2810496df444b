"""Figures of the parts of Delta_TTT: a stacked bar per method, for Delta_TTT and each task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy.typing import NDArray

from ttt_bench.report.figures.drawing import PER_LINE, add_title, laid_out, look, panels
from ttt_bench.report.figures.inline import INK, PAPER
from ttt_bench.report.figures.interval_marks import draw_intervals, limits
from ttt_bench.stats.attribution import (
    ADAPTATION,
    NORMALISATION,
    PARTS,
    SOURCE,
    TOTAL,
    UPDATES,
    Part,
)
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA

Array = NDArray[np.float64]

_BAR, _PANEL, _EXTRA = 0.13, 0.45, 0.95
"""Heights in inches: of a bar, of a panel without its bars, and of title and legend."""
_STYLES: dict[Part, dict[str, Any]] = {
    # lightness and hatches tell the parts apart in grey too
    SOURCE: {"facecolor": "#c77700", "hatch": "////"},
    NORMALISATION: {"facecolor": "#8c8c8c"},
    UPDATES: {"facecolor": "#0173b2"},
    ADAPTATION: {"facecolor": "#5b8fb8", "hatch": "...."},
}
_EDGE: dict[str, Any] = {"edgecolor": PAPER, "linewidth": 0}
_SUM: dict[str, Any] = {
    "color": INK,
    "marker": "D",
    "markerfacecolor": PAPER,
    "markersize": 4,
}
_OUTLINE: list[AbstractPathEffect] = [withStroke(linewidth=3, foreground=PAPER)]


def figure(comparison: Comparison, found: pd.DataFrame) -> Figure:
    """Return a figure with a panel for Delta_TTT and one for each task.

    Args:
        found: as `attribution_table.parts` returns them, with Delta_TTT.
    """
    labels = list(dict.fromkeys(found["label"]))
    names = [DELTA, *comparison.tasks]
    rows = [comparison.names.of(label) for label in labels]
    with look():
        shown, axes = panels(len(names), _BAR * len(labels) + _PANEL, _EXTRA)
        for place, (ax, name) in enumerate(zip(axes, names, strict=False)):
            _draw(ax, found[found["quantity"] == name], labels)
            ax.set_title("Delta_TTT" if name == DELTA else name, loc="left")
            # the labels are those of the panel to the left
            ax.set_yticks(range(len(labels)), [""] * len(labels) if place % PER_LINE else rows)
            ax.invert_yaxis()
        shown.legend(handles=_handles(found), loc="outside lower left", ncols=2, frameon=False)
        add_title(shown, comparison.title, comparison.subtitle, "Horizontally: percent of Base")
        return laid_out(shown)


def _draw(ax: Axes, found: pd.DataFrame, labels: list[str]) -> None:
    """Draw the bars of a quantity: gains and losses are stacked apart from each other."""
    ax.axvline(0, color=INK, linewidth=0.8, zorder=1)
    ends = {sign: np.zeros(len(labels)) for sign in (-1, 1)}
    for part in (part for part in PARTS if part != TOTAL):
        means = _column(found, part.name, "mean", labels)
        for sign, end in ends.items():
            width = np.where(np.sign(means) == sign, means, 0.0)
            ax.barh(range(len(labels)), width, 0.7, end, zorder=2, **_STYLES[part], **_EDGE)
            end += width
    total, low, high = (_column(found, TOTAL.name, c, labels) for c in ("mean", "low", "high"))
    ax.set_xlim(limits(np.array([ends[-1].min(), ends[1].max(), *total]), low, high))
    draw_intervals(ax, low, high, colors=INK, linewidth=1.2, zorder=3, path_effects=_OUTLINE)
    ax.plot(total, range(len(labels)), linestyle="", zorder=4, **_SUM)
    ax.grid(visible=False, axis="y")
    seaborn.despine(ax=ax)


def _column(found: pd.DataFrame, part: str, column: str, labels: list[str]) -> Array:
    """Return a column of a part, one number per label; NaN for a label without the part."""
    own = found[found["part"] == part].set_index("label")[column]
    return own.reindex(labels).to_numpy(dtype=float)


def _handles(found: pd.DataFrame) -> list[Patch | Line2D]:
    """Return the legend's entries: the parts that a row has, and the sum."""
    present = set(found["part"])
    parts: list[Patch | Line2D] = [
        Patch(label=part.heading, **_STYLES[part], **_EDGE)
        for part in PARTS
        if part != TOTAL and part.name in present
    ]
    return [*parts, Line2D([], [], label="sum, 95 % interval", linewidth=1.5, **_SUM)]
