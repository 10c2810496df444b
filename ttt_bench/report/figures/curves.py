"""Figures of every task's score, and Delta_TTT, over adaptation steps: one per comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.figures.drawing import laid_out, look
from ttt_bench.report.figures.line_styles import Style, line_styles
from ttt_bench.report.tables import DOWN, UP
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.stats.summary import curve_frame

PANEL = (3.5, 2.6)
"""Width and height of a panel in inches."""
MARKERS = 10
"""Markers per line, about."""
LONGEST_LEGEND = 14
"""Labels that fit a panel."""


def figure(comparison: Comparison) -> Figure:
    """Return a figure with a panel for every task and one for Delta_TTT.

    Lines are means over seeds, bands one standard deviation. Labels of one method have its colour
    and differ in dashes.
    """
    with look():
        return _figure(comparison, curve_frame(comparison.scores, comparison.base))


def _figure(comparison: Comparison, values: pd.DataFrame) -> Figure:
    names = _panels(comparison, values)
    shown, axes = _grid(len(names))
    styles = line_styles(comparison)
    for ax, name in zip(axes, names, strict=False):
        _draw_lines(ax, values[values["quantity"] == name], styles)
        _label(ax, name, comparison)
    for ax in axes[len(names) :]:
        ax.set_axis_off()
    _add_legend(shown, axes[len(names) :], _legend_title(comparison), styles)
    shown.suptitle(f"{comparison.title}\n{comparison.subtitle}", x=0.01, ha="left", fontsize=9)
    return laid_out(shown)


def _panels(comparison: Comparison, values: pd.DataFrame) -> list[str]:
    """Return the quantities that have a panel."""
    has_delta = (values["quantity"] == DELTA).any()
    return [*comparison.tasks, DELTA] if has_delta else [*comparison.tasks]


def _grid(panels: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with axes for at least that many panels, three per line at most."""
    columns = min(3, panels)
    lines = math.ceil(panels / columns)
    size = (PANEL[0] * columns, PANEL[1] * lines + 0.5)
    shown = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(shown)
    return shown, list(shown.subplots(lines, columns, squeeze=False).flat)


def _draw_lines(ax: Axes, values: pd.DataFrame, styles: dict[str, Style]) -> None:
    for position, (label, style) in enumerate(styles.items()):
        over_steps = values[values["label"] == label].set_index("step")
        if len(over_steps):
            _draw_line(ax, over_steps, style, position)
    if len(values):
        ax.set_xlim(0, max(1, values["step"].max()))


def _draw_line(ax: Axes, values: pd.DataFrame, style: Style, position: int) -> None:
    """Draw one label's means over steps and, if all steps have a spread, its band."""
    mean, spread = values["mean"], values["sd"]
    # lines that coincide differ in the steps of their markers
    every = max(1, len(mean) // MARKERS)
    markevery = (position % every, every)
    ax.plot(mean.index, mean, linewidth=1.5, markersize=3.5, markevery=markevery, **style)
    if spread.notna().all():
        low, high = mean - spread, mean + spread
        ax.fill_between(mean.index, low, high, color=style["color"], alpha=0.1, linewidth=0)


def _label(ax: Axes, name: str, comparison: Comparison) -> None:
    ax.set_title(heading(name), loc="left")
    ax.set_xlabel(comparison.protocol.step_axis)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    seaborn.despine(ax=ax)


def heading(name: str) -> str:
    """Return the heading of a panel: task and metric, or Delta_TTT, with the direction."""
    if name == DELTA:
        return f"Delta_TTT (%), higher is better {UP}"
    metric = metrics_of(name).primary
    direction = f"higher is better {UP}" if metric.higher_is_better else f"lower is better {DOWN}"
    return f"{name}: {metric.printed}, {direction}"


def _add_legend(shown: Figure, free: Sequence[Axes], title: str, styles: dict[str, Style]) -> None:
    """Add the legend in a free panel if it fits there, or else to the right of the panels."""
    handles = [_handle(label, style) for label, style in styles.items()]
    words = {"handles": handles, "frameon": False, "title": title, "alignment": "left"}
    if free and len(handles) <= LONGEST_LEGEND:
        free[0].legend(loc="center left", **words)
    else:
        shown.legend(loc="outside right upper", **words)


def _handle(label: str, style: Style) -> Line2D:
    return Line2D([], [], label=label, linewidth=1.8, markersize=4, **style)


def _legend_title(comparison: Comparison) -> str:
    seeds = comparison.rows["seed"].nunique()
    return "one seed" if seeds == 1 else f"mean ± sd of {seeds} seeds"
