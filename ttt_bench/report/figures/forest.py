"""The ranking of methods: Delta_TTT and its paired difference to `norm`, with intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ttt_bench.analysis.evidence import BASE, NORM, Evidence, controls
from ttt_bench.analysis.verdicts import OPEN, verdicts
from ttt_bench.report.figures.curves import Sketch
from ttt_bench.report.figures.drawing import add_title, blank, laid_out, look
from ttt_bench.report.figures.inline import INK, PAPER, gid
from ttt_bench.report.figures.interval_marks import draw_intervals, limits
from ttt_bench.report.figures.line_styles import Style
from ttt_bench.report.formats.cells import rounded
from ttt_bench.report.frames import named_rows
from ttt_bench.report.tables import UP
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA, FIXED

_ROW, _EXTRA = 0.15, 1.5
"""Heights in inches: of a row, and of titles, axes and legend."""
_NUMBERS = ("mean", "low", "high", "verdict")
MARK: Style = {"marker": "o", "color": INK, "markersize": 4, "linestyle": ""}
_SHOWN = {True: INK, False: PAPER}
"""Colour of the inside of a mark, by whether the difference is shown."""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A column of the figure.

    Attributes:
        title: its title.
        numbers: columns `mean, low, high, verdict`, one line per label of the figure; NaN for one
            that has no number.
        unit: the unit of the numbers.
    """

    title: str
    numbers: pd.DataFrame
    unit: str


def sketch(evidence: Evidence) -> Sketch | None:
    """Return the figure of the ranking at the fixed step; None if no method has Delta_TTT.

    Rows are sorted by Delta_TTT. Base is the line at 0. Frozen controls have no row. A filled mark
    is a difference that is shown (`analysis.verdicts`), in the first panel that to Base.
    """
    panels = list(_panels(evidence))
    if not panels:
        return None
    comparison = evidence.comparison
    with look():
        return Sketch(_figure(comparison, panels), dict(_tips(comparison, panels)))


def _panels(evidence: Evidence) -> Iterator[Panel]:
    """Yield the panel of Delta_TTT, and that of the differences to norm if it has numbers."""
    comparison, names = evidence.comparison, evidence.comparison.names
    if comparison.rows.empty or comparison.base is None:
        return
    estimates = _kept(comparison, evidence.all_estimates())
    if estimates.empty:
        return
    found = evidence.all_differences()
    found = _kept(comparison, found.assign(verdict=verdicts(found)))
    to_base = found[found["reference"] == BASE].set_index("label")["verdict"]
    order = estimates.sort_values("mean", ascending=False, kind="stable").set_index("label")
    order = order.assign(verdict=to_base.reindex(order.index).fillna(OPEN))
    yield Panel(title=f"Delta_TTT % {UP}", numbers=order[list(_NUMBERS)], unit="%")
    to_norm = found[found["reference"] == NORM].set_index("label")
    if len(to_norm):
        numbers = to_norm.reindex(order.index)[list(_NUMBERS)]
        yield Panel(title=f"minus {names.of(NORM)} {UP}", numbers=numbers, unit="points")


def _kept(comparison: Comparison, frame: pd.DataFrame) -> pd.DataFrame:
    """Return Delta_TTT at the fixed step of all rows but Base and frozen controls."""
    control = frame["label"].map(controls(comparison))
    adapting = (control == "none") & (frame["label"].map(comparison.methods) != BASE)
    return frame[adapting & (frame["quantity"] == DELTA) & (frame["selection"] == FIXED.name)]


def _figure(comparison: Comparison, panels: Sequence[Panel]) -> Figure:
    labels = list(panels[0].numbers.index)
    shown = blank(_ROW * len(labels) + _EXTRA)
    axes = shown.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for place, (ax, panel) in enumerate(zip(axes, panels, strict=True)):
        _draw(ax, panel, place)
    axes[0].set_yticks(range(len(labels)), [comparison.names.of(label) for label in labels])
    axes[0].set_ylim(len(labels) - 0.4, -0.6)
    handles = _handles("Base", comparison.names.of(NORM) if len(panels) > 1 else "")
    shown.legend(handles=handles, loc="outside lower left", ncols=1, frameon=False)
    add_title(shown, comparison.title, comparison.subtitle, "At the fixed step")
    return laid_out(shown)


def _draw(ax: Axes, panel: Panel, place: int) -> None:
    numbers = panel.numbers
    mean, low, high = (numbers[name].to_numpy(dtype=float) for name in _NUMBERS[:3])
    # 0 is Base, or norm
    ax.axvline(0, color=INK, linewidth=0.8, linestyle="--" if place == 0 else "-", zorder=1)
    ax.set_xlim(limits(np.array([0.0, *mean]), low, high))
    draw_intervals(ax, low, high, colors=INK, linewidth=1.0, zorder=2)
    for height, row in enumerate(named_rows(numbers)):
        if not np.isnan(row.mean):
            inside = _SHOWN[bool(row.verdict != OPEN)]
            own = gid(height, "mark", place)
            ax.plot(row.mean, height, markerfacecolor=inside, zorder=3, gid=own, **MARK)
    ax.set_title(panel.title, loc="left")
    ax.grid(visible=False, axis="y")
    seaborn.despine(ax=ax, left=place > 0)
    ax.tick_params(axis="y", length=0)


def _handles(base: str, norm: str) -> list[Line2D]:
    """Return the legend's entries."""
    zeros = [Line2D([], [], label=f"{base} (left)", color=INK, linewidth=0.8, linestyle="--")]
    if norm:
        zeros.append(Line2D([], [], label=f"{norm} (right)", color=INK, linewidth=0.8))
    meaning = {True: "a difference to this line is shown", False: "not shown to differ from it"}
    marks = [
        Line2D([], [], label=f"{words}", markerfacecolor=_SHOWN[is_shown], **MARK)
        for is_shown, words in meaning.items()
    ]
    return [*zeros, *marks]


def _tips(comparison: Comparison, panels: Sequence[Panel]) -> Iterator[tuple[str, list[str]]]:
    """Yield the gid of each mark with its row, mean, interval and verdict."""
    for place, panel in enumerate(panels):
        for height, row in enumerate(named_rows(panel.numbers)):
            if not np.isnan(row.mean):
                name = comparison.names.of(row.Index)
                yield (
                    gid(height, "mark", place),
                    [f"{name}, {panel.title}: {_value(row, panel.unit)}"],
                )


def _value(row: object, unit: str) -> str:
    """Return mean and interval in words."""
    mean, low, high, verdict = (getattr(row, name) for name in _NUMBERS)
    text = f"{rounded(mean, 2)} {unit}"
    if not np.isnan(low):
        text += f", 95 % interval {rounded(low, 2)} to {rounded(high, 2)}"
    return text + (", not shown to differ" if verdict == OPEN else ", shown to differ")
