"""Figures of a study over its axis: scores and Delta_TTT, and losses."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ttt_bench.analysis.evidence import BASE
from ttt_bench.analysis.studies import StudyResults
from ttt_bench.report.figures.curves import heading
from ttt_bench.report.figures.drawing import laid_out, look, panels
from ttt_bench.report.figures.line_styles import Style, method_styles
from ttt_bench.results.method_names import MethodNames
from ttt_bench.results.published import for_pair
from ttt_bench.stats.comparison import Key
from ttt_bench.stats.step_rules import DELTA, FIXED
from ttt_bench.tasks import TASKS

HEIGHT = 1.5
"""Height of a line of panels in inches."""
DODGE = 0.015
"""Distance of the points of two methods, as a share of the axis, so that bars do not overlap."""
COLUMNS = ("value", "method", "quantity", "mean", "low", "high", "published")


def axis_frame(found: StudyResults) -> pd.DataFrame:
    """Return the numbers of the figure: one row per value, method and quantity.

    Columns `COLUMNS`. Base is among the methods. The quantities are tasks and Delta_TTT at the
    fixed step; `published` is the printed Delta_TTT, NaN without one.
    """
    frames = list(_frames(found))
    if not frames:
        return pd.DataFrame(columns=list(COLUMNS))
    frame = pd.concat(frames, ignore_index=True)
    return frame[frame["quantity"].isin([*TASKS, DELTA])][list(COLUMNS)].reset_index(drop=True)


def _frames(found: StudyResults) -> Iterator[pd.DataFrame]:
    for arm in found.arms:
        if arm.evidence is None or arm.evidence.comparison.rows.empty:
            continue
        comparison = arm.evidence.comparison
        means = arm.evidence.estimates(FIXED.name)
        for label in filter(None, (comparison.base, *arm.labels)):
            own = means[means["label"] == label]
            printed = _published(comparison.key, label)
            yield own.assign(
                value=arm.arm.value,
                method=comparison.methods[label],
                published=own["quantity"].map({DELTA: printed}).astype(float),
            )


def _published(key: Key, label: str) -> float:
    """Return the printed Delta_TTT of a row; NaN without one."""
    table = for_pair(key.pair, key.architecture)
    row = table.row(label) if table is not None else None
    return math.nan if row is None or row.delta is None else row.delta.value


def axis_figure(found: StudyResults, frame: pd.DataFrame) -> Figure:
    """Return a figure with a panel for every task and one for Delta_TTT over the axis.

    Lines are means over seeds, bars their 95 % intervals. Hollow squares are published numbers.

    Args:
        frame: as `axis_frame` returns it.
    """
    assert found.study.axis is not None
    names = [name for name in (*TASKS, DELTA) if name in set(frame["quantity"])]
    styles = method_styles(list(dict.fromkeys(frame["method"])))
    printed = found.comparisons[0].names
    with look():
        shown, axes = panels(len(names), HEIGHT)
        for ax, name in zip(axes, names, strict=False):
            _draw(ax, frame[frame["quantity"] == name], styles, printed)
            _label(ax, heading(name), found.study.axis.name)
        _add_legend(shown, axes[len(names) - 1], axes[len(names) :])
        return laid_out(shown)


def _label(ax: Axes, title: str, axis: str) -> None:
    ax.set_title(title, loc="left")
    ax.set_xlabel(axis)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=4))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=4))
    seaborn.despine(ax=ax)


def _add_legend(shown: Figure, last: Axes, free: Sequence[Axes]) -> None:
    """Add the legend of the last panel, which has every line, in a free panel or below."""
    handles, labels = last.get_legend_handles_labels()
    if free:
        free[0].legend(handles, labels, loc="center left", frameon=False)
    else:
        shown.legend(handles, labels, loc="outside lower left", ncols=3, frameon=False)


def _draw(ax: Axes, values: pd.DataFrame, styles: dict[str, Style], names: MethodNames) -> None:
    apart = DODGE * (values["value"].max() - values["value"].min())
    moved = [method for method in styles if method != BASE]
    for method, style in styles.items():
        own = values[values["method"] == method].sort_values("value")
        own = own.drop_duplicates("value")  # arms of one comparison share Base
        if own.empty:
            continue
        shift = apart * (moved.index(method) - (len(moved) - 1) / 2) if method in moved else 0.0
        own = own.assign(value=own["value"] + shift)
        _draw_method(ax, own, names.of(method), style)
        if method != BASE:
            _draw_intervals(ax, own, names.of(method), style)
    ax.set_ylim(*_limits(values))


def _draw_method(ax: Axes, own: pd.DataFrame, name: str, style: Style) -> None:
    ax.plot(own["value"], own["mean"], label=name, linewidth=1.2, markersize=3.5, **style)


def _draw_intervals(ax: Axes, own: pd.DataFrame, name: str, style: Style) -> None:
    """Draw the intervals of a method, and its published numbers if there are any."""
    known = own[own["low"].notna()]
    ax.vlines(known["value"], known["low"], known["high"], color=style["color"], linewidth=0.8)
    printed = own[own["published"].notna()]
    if len(printed):
        _draw_published(ax, printed, name, style)


def _limits(values: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of the vertical axis; bars that are much longer than the curves are cut."""
    means = pd.concat([values["mean"], values["published"].dropna()])
    span = max(means.max() - means.min(), 1e-3 * abs(means).max(), 1e-9)
    low = max(min(means.min(), values["low"].min()), means.min() - span)
    high = min(max(means.max(), values["high"].max()), means.max() + span)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _draw_published(ax: Axes, own: pd.DataFrame, name: str, style: Style) -> None:
    ax.plot(
        own["value"],
        own["published"],
        linestyle="none",
        marker="s",
        markersize=5,
        markerfacecolor="none",
        markeredgecolor=style["color"],
        label=f"{name},\npublished",
    )
