"""Figures of learning rates by steps: one per method, with a map of Delta_TTT and of each task."""

from __future__ import annotations

import math
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from ttt_bench.report.figures.drawing import laid_out
from ttt_bench.results.method_names import PROPER_NAMES
from ttt_bench.stats.rate_maps import RateMap
from ttt_bench.stats.step_rules import DELTA

CELL = (0.54, 0.42)
"""Width and height of a point of the grid in inches."""
LEAST_LIMIT = 1.0
"""Smallest end of a colour scale in percent, so that noise does not look like a gain."""
_LOOK: Any = {"font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "hatch.linewidth": 0.6}
# its lightness rises all the way, so that losses, no change and gains differ in grey too
_COLOURS = "cividis"
_COLUMNS = 2


def figure(one: RateMap, subtitle: str) -> Figure:
    """Return a figure with a map of Delta_TTT and of each task.

    Colours are centred at 0 and end at the largest gain; larger losses have the colour of the end.
    Every point shows its number. Points without a score are hatched.

    Args:
        one: the map.
        subtitle: the choices that all cells share.
    """
    with matplotlib.rc_context(_LOOK):
        names = list(one.changes)
        lines = math.ceil(len(names) / _COLUMNS)
        width = max(3.4, CELL[0] * len(one.rates) + 1.4)
        height = CELL[1] * len(one.steps) + 0.85
        shown = Figure(figsize=(width * _COLUMNS, height * lines + 0.9))
        FigureCanvasAgg(shown)
        axes = list(shown.subplots(lines, _COLUMNS, squeeze=False).flat)
        for ax, name in zip(axes, names, strict=False):
            _draw(ax, one, name)
        for ax in axes[len(names) :]:
            ax.set_axis_off()
        shown.legend(handles=_handles(one), loc="outside lower center", ncols=3, frameon=False)
        shown.suptitle(
            f"{PROPER_NAMES.of(one.method)} on {one.pair}\n{subtitle}",
            x=0.01,
            ha="left",
            fontsize=9,
        )
        return laid_out(shown)


def _draw(ax: Axes, one: RateMap, name: str) -> None:
    # (R, N) -> (N, R): steps upwards, rates to the right
    values = one.changes[name].T
    norm = _norm(values)
    ax.pcolormesh(np.ma.masked_invalid(values), cmap=_COLOURS, norm=norm, edgecolors="white")
    for (row, column), value in np.ndenumerate(values):
        _number(ax, (column, row), value, norm)
    _mark(ax, one, name)
    _label(ax, one, name)
    scale = ScalarMappable(norm=norm, cmap=_COLOURS)
    # the constrained layout makes room for a bar only if it is not part of a grid
    bar = ax.figure.colorbar(
        scale, ax=ax, extend="min", fraction=0.05, pad=0.02, use_gridspec=False
    )
    bar.outline.set_visible(False)


def _norm(values: np.ndarray) -> Normalize:
    """Return a colour scale that is centred at 0 and ends at the largest gain."""
    limit = max(LEAST_LIMIT, np.nanmax(values)) if np.isfinite(values).any() else LEAST_LIMIT
    return Normalize(-limit, limit)


def _number(ax: Axes, place: tuple[int, int], value: float, norm: Normalize) -> None:
    """Write a point's number, or hatch the point if it has none."""
    column, row = place
    if not math.isfinite(value):
        ax.add_patch(Rectangle(place, 1, 1, facecolor="white", edgecolor="0.4", hatch="////", lw=0))
        return
    red, green, blue, _ = matplotlib.colormaps[_COLOURS](float(norm(value)))
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
    ax.text(
        column + 0.5,
        row + 0.36,
        f"{value:.2f}".replace("-", "−"),
        ha="center",
        va="center",
        fontsize=6.5,
        color="black" if light else "white",
    )


def _mark(ax: Axes, one: RateMap, name: str) -> None:
    """Frame the chosen point, and mark the best one by a star."""
    place = (one.rates.index(one.chosen), len(one.steps) - 1)
    for width, colour in ((3.0, "white"), (1.6, "black")):
        ax.add_patch(
            Rectangle(place, 1, 1, fill=False, edgecolor=colour, lw=width, clip_on=False, zorder=4)
        )
    peak = one.peak(name)
    if peak is not None:
        column, row = one.rates.index(peak.lr), one.steps.index(peak.steps)
        ax.plot(
            column + 0.5,
            row + 0.78,
            "*",
            color="black",
            markeredgecolor="white",
            markersize=8,
            markeredgewidth=0.6,
            zorder=5,
        )


def _label(ax: Axes, one: RateMap, name: str) -> None:
    heading = "Delta_TTT" if name == DELTA else name
    ax.set_title(f"{heading}: change against Base (%)", loc="left")
    ax.set_xlabel("learning rate (0: frozen control)")
    ax.set_ylabel("steps per batch")
    ax.set_xticks(np.arange(len(one.rates)) + 0.5, [f"{rate:.3g}" for rate in one.rates])
    ax.set_yticks(np.arange(len(one.steps)) + 0.5, [str(number) for number in one.steps])
    ax.tick_params(length=0)
    ax.tick_params(axis="x", labelsize=6.5)
    ax.axvline(1, color="white", lw=4)
    for side in ax.spines.values():
        side.set_visible(False)


def _handles(one: RateMap) -> list[Patch | Line2D]:
    star = {"marker": "*", "linestyle": "none", "color": "black", "markersize": 8}
    return [
        Patch(fill=False, edgecolor="black", lw=1.6, label=f"chosen: {one.chosen:g}"),
        Line2D([], [], label="best", **star),  # type: ignore[arg-type]
        Patch(facecolor="white", edgecolor="0.4", hatch="////", label="diverged or missing"),
    ]
