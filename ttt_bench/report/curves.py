"""Every task's score, and Delta_TTT, over adaptation steps: one figure a comparison."""

from __future__ import annotations

import io
import math
import zlib
from typing import Any

import matplotlib
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ttt_bench.report.tables import DOWN, UP
from ttt_bench.stats.comparison import METHOD_ORDER, Comparison
from ttt_bench.stats.summary import DELTA, curve_frame
from ttt_bench.tasks import TASKS

_PALETTE = [tuple(colour) for colour in seaborn.color_palette("colorblind")]
_NEUTRAL = {"base": "#000000", "norm": "#7f7f7f"}
# seaborn's colour-blind-safe palette without its grey, which is norm's; a method has one colour in
# every figure
_FREE = [_PALETTE[i] for i in (0, 1, 2, 9, 4, 5, 6, 8, 3)]
_COLOURS = dict(zip(METHOD_ORDER[2:], _FREE, strict=True))
_DASHES: tuple[object, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)))
_MARKERS = "osD^vPX*<>hp"
_PANEL = (3.5, 2.6)
_ONLINE_AXIS = "adaptation step within batch\n(0: as the batches before left it, not Base)"
_LOOK = {
    "grid.color": ".9",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
}

Style = dict[str, Any]
"""Colour, line style and marker, as matplotlib names them."""


def colour(method: str) -> object:
    """A method's colour, the same in every figure."""
    # methods from elsewhere take a colour by their name, so that it does not depend on what else is
    # shown
    return (
        _NEUTRAL.get(method)
        or _COLOURS.get(method)
        or _FREE[zlib.crc32(method.encode()) % len(_FREE)]
    )


def figure(comparison: Comparison) -> Figure:
    """A panel for every task and one for Delta_TTT; lines are means over seeds, bands one standard
    deviation.

    Labels of one method share its colour and differ in dashes.
    """
    values = curve_frame(comparison.rows, comparison.base)
    panels = [*comparison.tasks, *([DELTA] if (values["quantity"] == DELTA).any() else [])]
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    # seaborn sets its style through matplotlib's settings, which are the caller's again afterwards
    with matplotlib.rc_context(
        seaborn.axes_style("whitegrid") | seaborn.plotting_context("paper") | _LOOK
    ):
        shown = Figure(figsize=(_PANEL[0] * columns, _PANEL[1] * lines + 0.5), layout="constrained")
        FigureCanvasAgg(shown)
        axes = list(shown.subplots(lines, columns, squeeze=False).flat)
        styles = _styles(comparison)
        for ax, name in zip(axes, panels, strict=False):
            _panel(ax, name, values[values["quantity"] == name], styles, comparison.key.protocol)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        handles = [
            Line2D([], [], label=label, linewidth=1.8, markersize=4, **style)
            for label, style in styles.items()
        ]
        words = {
            "handles": handles,
            "frameon": False,
            "title": _legend_title(comparison),
            "alignment": "left",
        }
        # the legend takes the place of a panel where one is free and it fits there
        if len(panels) < len(axes) and len(handles) <= 14:
            axes[len(panels)].legend(loc="center left", **words)
        else:
            shown.legend(loc="outside right upper", **words)
        shown.suptitle(f"{comparison.title}\n{comparison.subtitle}", x=0.01, ha="left", fontsize=9)
        shown.draw_without_rendering()
    return shown


def png(shown: Figure, dpi: int = 150) -> bytes:
    """The figure as a PNG file."""
    return _saved(shown, "png", dpi=dpi)


def svg(shown: Figure) -> bytes:
    """The figure as an SVG file, equal for equal figures."""
    with matplotlib.rc_context({"svg.hashsalt": "ttt-bench"}):
        return _saved(shown, "svg", metadata={"Date": None})


def _saved(shown: Figure, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    shown.savefig(stream, format=form, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def _panel(
    ax: Axes, name: str, values: pd.DataFrame, styles: dict[str, Style], protocol: str
) -> None:
    for position, (label, style) in enumerate(styles.items()):
        over_steps = values[values["label"] == label].set_index("step")
        mean, spread = over_steps["mean"], over_steps["sd"]
        if mean.empty:
            continue
        # about ten markers a line, not all at the same steps, so that lines that coincide can be
        # told apart
        every = max(1, len(mean) // 10)
        ax.plot(
            mean.index,
            mean,
            linewidth=1.5,
            markersize=3.5,
            markevery=(position % every, every),
            **style,
        )
        if spread.notna().all():
            ax.fill_between(
                mean.index,
                mean - spread,
                mean + spread,
                color=style["color"],
                alpha=0.1,
                linewidth=0,
            )
    ax.set_title(_heading(name), loc="left")
    ax.set_xlabel(_ONLINE_AXIS if protocol == "online" else "adaptation step")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if len(values):
        ax.set_xlim(0, max(1, values["step"].max()))
    seaborn.despine(ax=ax)


def _heading(name: str) -> str:
    if name == DELTA:
        return f"Delta_TTT (%), higher is better {UP}"
    metric = TASKS[name].primary
    direction = f"higher is better {UP}" if metric.higher_is_better else f"lower is better {DOWN}"
    return f"{name}: {metric.printed}, {direction}"


def _styles(comparison: Comparison) -> dict[str, Style]:
    """Colour, dashes and marker of each label with numbers, in table order."""
    done = set(comparison.rows["label"])
    methods = dict(zip(comparison.cells["label"], comparison.cells["method"], strict=True))
    seen: dict[str, int] = {}
    styles: dict[str, Style] = {}
    for position, label in enumerate(label for label in comparison.labels if label in done):
        method = methods[label]
        variant = seen[method] = seen.get(method, -1) + 1
        dashes = "--" if method == "base" else _DASHES[variant % len(_DASHES)]
        styles[label] = {
            "color": colour(method),
            "linestyle": dashes,
            "marker": "" if method == "base" else _MARKERS[position % len(_MARKERS)],
        }
    return styles


def _legend_title(comparison: Comparison) -> str:
    seeds = comparison.rows["seed"].nunique()
    return "one seed" if seeds == 1 else f"mean ± sd of {seeds} seeds"
