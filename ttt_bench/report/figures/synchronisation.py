"""Figures of the synchronisation of tasks: a panel per method, a curve and a peak per task."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ttt_bench.analysis.evidence import BASE, controls
from ttt_bench.report.figures.drawing import LETTERS, add_title, laid_out, look, panels
from ttt_bench.report.figures.inline import PAPER
from ttt_bench.report.figures.line_styles import Style, task_styles
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.synchronisation import curve_frame, peak, sync_frame
from ttt_bench.stats.trajectories import Trajectories

HEIGHT, EXTRA = 1.45, 1.1
"""Height of a line of panels, and of title and legend, in inches."""
STRIP, LANE = -0.2, 0.18
"""Height of the bar from the first to the last peak, below curves from 0 to 1, and the distance of
the lanes of peaks below it, one per task.
"""
_BAR: Style = {"color": "#555555", "linewidth": 1.0}


def figure(comparison: Comparison, found: Trajectories) -> Figure | None:
    """Return a figure with a panel for every row that moves; None if no row does.

    Curves are means over seeds of the unit curves of docs/synchronisation.md. Peaks are those of
    the synchronisation table: the step of the best score, averaged over seeds. Base and frozen
    controls have no panel.

    Args:
        found: the observed trajectories of the comparison.
    """
    frame, rows = curve_frame(found), _adapting(comparison)
    moving = [label for label in rows if label in set(frame["label"])]
    if not moving:
        return None
    styles = task_styles(comparison.tasks)
    with look():
        shown, axes = panels(len(moving), HEIGHT, EXTRA)
        _draw_panels(dict(zip(moving, axes, strict=False)), frame, sync_frame(found), styles)
        for label, ax in zip(moving, axes, strict=False):
            ax.set_title(_heading(comparison.names.of(label), _spread(ax)), loc="left")
        still = comparison.names.listed(label for label in rows if label not in moving)
        note = f"No panel, because no task moves: {still}" if still else ""
        add_title(shown, comparison.title, comparison.subtitle, note)
        shown.legend(
            handles=_handles(styles),
            title=textwrap.fill(f"Horizontally: {comparison.protocol.step_axis}", LETTERS),
            alignment="left",
            loc="outside lower left",
            ncols=3,
            frameon=False,
        )
        return laid_out(shown)


def _adapting(comparison: Comparison) -> list[str]:
    """Return the labels with numbers, without Base and frozen controls."""
    control, done = controls(comparison), set(comparison.done["label"])
    return [
        label
        for label in comparison.labels
        if label in done and control[label] == "none" and comparison.methods[label] != BASE
    ]


def _draw_panels(
    axes: dict[str, Axes], frame: pd.DataFrame, observed: pd.DataFrame, styles: dict[str, Style]
) -> None:
    for label, ax in axes.items():
        seeds = observed[observed["label"] == label]
        _draw(ax, frame[frame["label"] == label], seeds, styles)
        ax.set_yticks([0, 1], ["worst", "best"])
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        seaborn.despine(ax=ax)


def _draw(ax: Axes, frame: pd.DataFrame, seeds: pd.DataFrame, styles: dict[str, Style]) -> None:
    """Draw the curves and peaks of a row, and the bar from the first to the last peak."""
    shown = [task for task in styles if task in set(frame["task"])]
    peaks = {task: seeds[peak(task)].dropna() for task in shown}
    for place, (task, at) in enumerate(peaks.items()):
        curve = frame[frame["task"] == task].set_index("step")["score"]
        _draw_curve(ax, curve, task, styles[task])
        if len(at):
            _mark_peaks(ax, curve, at, styles[task], STRIP - LANE * (place + 1))
        if np.mean([task in early for early in seeds["early"]]) > 0.5:
            point = (0.0, float(curve.iloc[0]))
            _mark(ax, point, styles[task], "early", markerfacecolor=PAPER, markersize=6)
    means = [float(at.mean()) for at in peaks.values() if len(at)]
    if means:
        ends = [min(means), max(means)]
        ax.plot(ends, [STRIP] * 2, marker="|", markersize=5, gid="spread", **_BAR)
    last = max(int(frame["step"].max()), 1)
    ax.set_xlim(-0.04 * last, 1.04 * last)
    ax.set_ylim(STRIP - LANE * (len(shown) + 0.7), 1.15)


def _draw_curve(ax: Axes, curve: pd.Series, task: str, style: Style) -> None:
    line = {"color": style["color"], "linestyle": style["linestyle"]}
    ax.plot(curve.index, curve, linewidth=1.2, label=task, gid="curve", **line)


def _mark_peaks(ax: Axes, curve: pd.Series, at: pd.Series, style: Style, height: float) -> None:
    """Mark the mean peak of a task on its curve and in its lane, with a tick for each seed."""
    where = at.mean()
    score = float(np.interp(where, curve.index, curve))
    _mark(ax, (where, score), style, "peak")
    # curves may coincide; lanes do not
    _mark(ax, (where, height), style, "lane", markersize=3.5)
    for one in at:
        ax.plot(one, height, "|", color=style["color"], markersize=4, gid="seed")


def _mark(ax: Axes, point: tuple[float, float], style: Style, gid: str, **more: Any) -> None:
    marked = {"color": style["color"], "marker": style["marker"], "markersize": 4.5} | more
    ax.plot(*point, linestyle="", zorder=4, gid=gid, clip_on=False, **marked)


def _spread(ax: Axes) -> float | None:
    """Return the number of steps from the first to the last peak in a panel; None of one peak."""
    at = [np.asarray(line.get_xdata())[0] for line in ax.lines if line.get_gid() == "peak"]
    return float(max(at) - min(at)) if len(at) > 1 else None


def _heading(name: str, spread: float | None) -> str:
    return name if spread is None else f"{name}\npeaks {spread:.1f} steps apart"


def _handles(styles: dict[str, Style]) -> list[Line2D]:
    """Return the legend's entries: the tasks, and the marks that all tasks have."""
    tasks = [Line2D([], [], label=task, markersize=4.5, **style) for task, style in styles.items()]
    grey: Style = {"color": "#555555", "linestyle": ""}
    marks = [
        Line2D([], [], label="peak", marker="o", markersize=4.5, **grey),
        Line2D(
            [],
            [],
            label="best at step 0",
            marker="o",
            markersize=6,
            markerfacecolor=PAPER,
            **grey,
        ),
        Line2D([], [], label="peak of a seed", marker="|", markersize=4, **grey),
        Line2D([], [], label="first to last peak", color="#555555", linewidth=1),
    ]
    return [*tasks, *marks]
