"""Figures of every task's score, and Delta_TTT, over adaptation steps: one per comparison."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ttt_bench.analysis.evidence import FROZEN, controls
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.figures.drawing import add_title, laid_out, look, panels
from ttt_bench.report.figures.line_styles import Style, line_styles
from ttt_bench.report.tables import DOWN, UP
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.stats.summary import curve_frame

HEIGHT, EXTRA, ENTRY = 1.6, 0.9, 0.14
"""Height of a line of panels, of titles, and of a line of the legend, in inches."""
MARKERS = 5
"""Markers per line, about."""
LONGEST_LEGEND = 8
"""Labels that fit a panel."""
COINCIDE = 0.005
"""Largest distance of lines that coincide, as a share of the range of their panel."""


def figure(comparison: Comparison) -> Figure:
    """Return a figure with a panel for every task and one for Delta_TTT.

    Lines are means over seeds, bands one standard deviation; frozen controls have no band.
    Labels of one method have its colour and differ in dashes.
    """
    with look():
        return _figure(comparison, curve_frame(comparison.scores, comparison.base))


def _figure(comparison: Comparison, values: pd.DataFrame) -> Figure:
    names, styles = _panels(comparison, values), line_styles(comparison)
    shown, axes = panels(len(names), HEIGHT, EXTRA + ENTRY * math.ceil(len(styles) / 3))
    # bands of all rows together would cover the lines
    banded = [label for label, control in controls(comparison).items() if control != FROZEN]
    for ax, name in zip(axes, names, strict=False):
        _draw_lines(ax, values[values["quantity"] == name], styles, banded)
        _label(ax, name)
    _add_legend(shown, axes[len(names) :], _legend_title(comparison), styles)
    same = "; ".join(" = ".join(group) for group in coinciding(values))
    note = f"Lines that coincide: {same}" if same else ""
    horizontal = f"Horizontally: {comparison.protocol.step_axis}"
    add_title(shown, comparison.title, comparison.subtitle, horizontal, note)
    return laid_out(shown)


def coinciding(values: pd.DataFrame) -> list[list[str]]:
    """Return the groups of labels whose lines coincide in every panel.

    Args:
        values: as `curve_frame` returns them.
    """
    table = values.pivot_table(index=["quantity", "step"], columns="label", values="mean")
    means = values.groupby("quantity")["mean"]
    span = means.max() - means.min()
    room = COINCIDE * table.index.get_level_values("quantity").map(span.to_dict()).to_numpy()
    groups: list[list[str]] = []
    for label in dict.fromkeys(values["label"]):
        own = table[label]
        near = (group for group in groups if ((table[group[0]] - own).abs() <= room).all())
        group = next(near, None)
        if group is None:
            groups.append([str(label)])
        else:
            group.append(str(label))
    return [group for group in groups if len(group) > 1]


def _panels(comparison: Comparison, values: pd.DataFrame) -> list[str]:
    """Return the quantities that have a panel."""
    has_delta = (values["quantity"] == DELTA).any()
    return [*comparison.tasks, DELTA] if has_delta else [*comparison.tasks]


def _draw_lines(
    ax: Axes, values: pd.DataFrame, styles: dict[str, Style], banded: Collection[str]
) -> None:
    """Draw the lines of all labels, and the bands of some."""
    for position, (label, style) in enumerate(styles.items()):
        over_steps = values[values["label"] == label].set_index("step")
        if len(over_steps):
            _draw_line(ax, over_steps, style, position)
            if label in banded and over_steps["sd"].notna().all():
                _draw_band(ax, over_steps, style)
    if len(values):
        ax.set_xlim(0, max(1, values["step"].max()))


def _draw_line(ax: Axes, values: pd.DataFrame, style: Style, position: int) -> None:
    """Draw one label's means over steps."""
    mean = values["mean"]
    # lines that coincide differ in the steps of their markers
    every = max(1, len(mean) // MARKERS)
    markevery = (position % every, every)
    ax.plot(mean.index, mean, linewidth=1.0, markersize=3, markevery=markevery, **style)


def _draw_band(ax: Axes, values: pd.DataFrame, style: Style) -> None:
    """Draw one standard deviation around one label's means."""
    low, high = values["mean"] - values["sd"], values["mean"] + values["sd"]
    ax.fill_between(values.index, low, high, color=style["color"], alpha=0.1, linewidth=0)


def _label(ax: Axes, name: str) -> None:
    ax.set_title(heading(name), loc="left")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
    seaborn.despine(ax=ax)


def heading(name: str) -> str:
    """Return task and metric, or Delta_TTT, with an arrow towards better scores."""
    if name == DELTA:
        return f"Delta_TTT % {UP}"
    metric = metrics_of(name).primary
    return f"{name} {metric.printed} {UP if metric.higher_is_better else DOWN}"


def _add_legend(shown: Figure, free: Sequence[Axes], title: str, styles: dict[str, Style]) -> None:
    """Add the legend in a free panel if it fits there, or else below the panels."""
    handles = [_handle(label, style) for label, style in styles.items()]
    words = {"handles": handles, "frameon": False, "title": title, "alignment": "left"}
    if free and len(handles) <= LONGEST_LEGEND:
        free[0].legend(loc="center left", **words)
    else:
        shown.legend(loc="outside lower left", ncols=3, **words)


def _handle(label: str, style: Style) -> Line2D:
    return Line2D([], [], label=label, linewidth=1.0, markersize=3.5, **style)


def _legend_title(comparison: Comparison) -> str:
    seeds = comparison.rows["seed"].nunique()
    return "one seed" if seeds == 1 else f"mean ± sd of {seeds} seeds"
