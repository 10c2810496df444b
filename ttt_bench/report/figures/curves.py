"""Figures of every task's score, and Delta_TTT, over adaptation steps: one per comparison."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ttt_bench.analysis.evidence import frozen_controls
from ttt_bench.metrics.base import metrics_of
from ttt_bench.report.columns import metric_column
from ttt_bench.report.figures.drawing import PER_LINE, add_title, blank, laid_out, look
from ttt_bench.report.figures.end_labels import GAP, End, add_labels, move_apart
from ttt_bench.report.figures.inline import gid
from ttt_bench.report.figures.line_styles import Style, colour, line_styles
from ttt_bench.report.formats.cells import rounded
from ttt_bench.report.frames import named_rows
from ttt_bench.report.tables import DOWN, UP
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.step_rules import DELTA
from ttt_bench.stats.summary import curve_frame

HEIGHT, EXTRA, ENTRY = 1.6, 0.9, 0.14
"""Height of a line of panels, of titles, and of a line of the legend, in inches."""
WIDE = 1.9
"""Least height of the first panel, which is as wide as the figure, in inches."""
MARKERS = 5
"""Markers per line, about."""
COINCIDE = 0.005
"""Largest distance of lines that coincide, as a share of the range of their panel."""
MOST_BANDS = 4
"""Lines that have bands; bands of more lines would cover them."""
FROZEN_SERIES = "f"
"""The series of all frozen controls."""
_FROZEN: Style = {"linestyle": (0, (1, 1.5)), "linewidth": 0.7}


class Sketch(NamedTuple):
    """A figure, and a text for each point of the artists whose gid it maps."""

    figure: Figure
    tips: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class _Curves:
    """The lines of a comparison; `values` is as `curve_frame` returns them."""

    comparison: Comparison
    values: pd.DataFrame

    @cached_property
    def quantities(self) -> list[str]:
        """Return the quantities that have a panel: Delta_TTT first, if it is known."""
        has_delta = (self.values["quantity"] == DELTA).any()
        return [*([DELTA] if has_delta else []), *self.comparison.tasks]

    @cached_property
    def frozen(self) -> list[str]:
        """Return the labels of frozen controls of rows that are shown, too."""
        known, drawn = frozen_controls(self.comparison), set(self.values["label"])
        own = {frozen for label, frozen in known.items() if label in drawn}
        return [label for label in self.comparison.labels if label in own & drawn]

    @cached_property
    def styles(self) -> dict[str, Style]:
        """Map each label that is no frozen control to its style."""
        drawn = set(self.values["label"]) - set(self.frozen)
        methods = self.comparison.methods
        return line_styles({label: methods[label] for label in methods if label in drawn})

    def series(self, label: str) -> int | str:
        """Return the series of a label."""
        return FROZEN_SERIES if label in self.frozen else list(self.styles).index(label)

    def lines(self, quantity: str) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield each label with its means over steps; frozen controls first, below the others."""
        own = self.values[self.values["quantity"] == quantity]
        for label in (*self.frozen, *self.styles):
            if len(line := own[own["label"] == label].set_index("step")):
                yield label, line

    def gid(self, label: str, panel: int) -> str:
        """Return the gid of a line; those of frozen controls differ in their panel."""
        place = self.frozen.index(label) if label in self.frozen else 0
        return gid(self.series(label), "curve", f"{panel}_{place}")


def sketch(comparison: Comparison) -> Sketch:
    """Return the figure with a panel for Delta_TTT and one for every task, and its values.

    Lines are means over seeds; bands, of a few lines only, are one standard deviation. Labels of
    one method have its colour and differ in dashes and markers. Frozen controls are thin dotted
    lines in the colour of their method, without a label.
    """
    curves = _Curves(comparison, curve_frame(comparison.scores, comparison.base))
    with look():
        return Sketch(_figure(curves), dict(_tips(curves)))


def _figure(curves: _Curves) -> Figure:
    shown, axes = _panels(curves)
    for panel, (ax, quantity) in enumerate(zip(axes, curves.quantities, strict=True)):
        _draw_lines(ax, curves, panel)
        ax.set_title(heading(quantity), loc="left")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
        seaborn.despine(ax=ax)
    labels = add_labels(axes[0], list(_ends(curves)))
    _add_legend(shown, curves)
    comparison = curves.comparison
    horizontal = f"Horizontally: {comparison.protocol.step_axis}"
    add_title(shown, comparison.title, comparison.subtitle, horizontal, *_same(curves))
    laid_out(shown)
    move_apart(axes[0], labels)
    return shown


def _panels(curves: _Curves) -> tuple[Figure, list[Axes]]:
    """Return a figure with a wide panel above the others."""
    count = len(curves.quantities)
    lines = math.ceil((count - 1) / PER_LINE)
    wide = max(WIDE, (len(curves.styles) + 2) * GAP / 72)
    legend = ENTRY * math.ceil((len(curves.styles) + 1) / 3)
    shown = blank(wide + lines * HEIGHT + EXTRA + legend)
    if not lines:
        return shown, [shown.subplots()]
    # figures within the figure: the labels of the wide panel take no room from the others
    ratios = [wide, lines * HEIGHT]
    (above,), (below,) = shown.subfigures(2, 1, squeeze=False, height_ratios=ratios)
    first = above.subplots()
    small = list(below.subplots(lines, PER_LINE, squeeze=False).flat)
    for ax in small[count - 1 :]:
        ax.remove()
    return shown, [first, *small[: count - 1]]


def _draw_lines(ax: Axes, curves: _Curves, panel: int) -> None:
    for label, line in curves.lines(curves.quantities[panel]):
        if label in curves.frozen:
            style = {"color": colour(curves.comparison.methods[label]), **_FROZEN}
            ax.plot(line.index, line["mean"], gid=curves.gid(label, panel), **style)
        else:
            _draw_line(ax, line, curves.styles[label], curves.gid(label, panel))
    if len(curves.styles) <= MOST_BANDS:
        _draw_bands(ax, curves, panel)
    steps = curves.values["step"]
    ax.set_xlim(0, max(1, steps.max()))


def _draw_line(ax: Axes, line: pd.DataFrame, style: Style, own: str) -> None:
    """Draw one label's means over steps."""
    # lines that coincide differ in the steps of their markers
    every = max(1, len(line) // MARKERS)
    markevery = (len(ax.lines) % every, every)
    ax.plot(
        line.index,
        line["mean"],
        linewidth=1.0,
        markersize=3,
        markevery=markevery,
        gid=own,
        **style,
    )


def _draw_bands(ax: Axes, curves: _Curves, panel: int) -> None:
    """Draw one standard deviation around the means of each label but frozen controls."""
    for label, line in curves.lines(curves.quantities[panel]):
        if label in curves.styles and line["sd"].notna().all():
            low, high = line["mean"] - line["sd"], line["mean"] + line["sd"]
            band = ax.fill_between(line.index, low, high, alpha=0.12, linewidth=0)
            band.set_color(str(curves.styles[label]["color"]))
            band.set_gid(gid(curves.series(label), "band", panel))


def _ends(curves: _Curves) -> Iterator[End]:
    """Yield the ends of the lines of the first panel; lines that coincide have one label."""
    lines = dict(curves.lines(curves.quantities[0]))
    names = curves.comparison.names
    groups = coinciding(curves.values[curves.values["label"].isin(curves.styles)])
    behind = {label: group for group in groups for label in group[1:]}
    for place, (label, style) in enumerate(curves.styles.items()):
        if label in lines and label not in behind:
            group = next((one for one in groups if label == one[0]), [label])
            last = lines[label].iloc[[-1]]
            point = (float(last.index[0]), float(last["mean"].iloc[0]))
            yield End(name=names.listed(group), point=point, style=style, series=place)


def _same(curves: _Curves) -> Iterator[str]:
    """Yield the notes on lines that coincide, and on those of frozen controls."""
    names, frozen = curves.comparison.names, set(curves.frozen)
    main = coinciding(curves.values[~curves.values["label"].isin(frozen)])
    if main:
        groups = [" = ".join(map(names.of, group)) for group in main]
        yield f"Lines that coincide: {'; '.join(groups)}"
    own = frozen_controls(curves.comparison)
    place = {label: number for number, one in enumerate(coinciding(curves.values)) for label in one}
    pairs = [(label, own.get(label, "")) for label in curves.styles if label in place]
    unmoved = [label for label, frozen in pairs if place.get(frozen) == place[label]]
    if unmoved:
        yield f"On the line of its frozen control: {names.listed(unmoved)}"


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


def _tips(curves: _Curves) -> Iterator[tuple[str, list[str]]]:
    """Yield each line's gid with a text per point: row, quantity, step, mean and deviation."""
    for panel, quantity in enumerate(curves.quantities):
        title, digits = heading(quantity), _digits(curves, quantity)
        for label, line in curves.lines(quantity):
            start = f"{curves.comparison.names.of(label)}, {title}"
            texts = [f"{start}, {_value(row, digits)}" for row in named_rows(line)]
            yield curves.gid(label, panel), texts


def _value(row: Any, digits: int) -> str:
    """Return step, mean and standard deviation of a point."""
    step, mean, sd = row.Index, float(row.mean), float(row.sd)
    spread = "" if math.isnan(sd) else f" ± {rounded(sd, digits)}"
    return f"step {step}: {rounded(mean, digits)}{spread}"


def _digits(curves: _Curves, quantity: str) -> int:
    """Return the digits after the point, as in the main table."""
    if quantity == DELTA:
        return 2
    own = curves.values.loc[curves.values["quantity"] == quantity, "mean"]
    return metric_column(metrics_of(quantity).primary, float(own.max())).decimals


def heading(name: str) -> str:
    """Return task and metric, or Delta_TTT, with an arrow towards better scores."""
    if name == DELTA:
        return f"Delta_TTT % {UP}"
    metric = metrics_of(name).primary
    return f"{name} {metric.printed} {UP if metric.higher_is_better else DOWN}"


def _add_legend(shown: Figure, curves: _Curves) -> None:
    """Add the legend below the panels, with an entry for all frozen controls."""
    names = curves.comparison.names
    handles = [_handle(names.of(label), style) for label, style in curves.styles.items()]
    series: list[int | str] = list(range(len(handles)))
    if curves.frozen:
        handles.append(Line2D([], [], label="frozen controls", color=colour("norm"), **_FROZEN))
        series.append(FROZEN_SERIES)
    legend = shown.legend(
        handles=handles,
        loc="outside lower left",
        ncols=3,
        frameon=False,
        title=_legend_title(curves),
        alignment="left",
    )
    entries = zip(series, legend.legend_handles, legend.get_texts(), strict=True)
    for own, handle, text in entries:
        text.set_gid(gid(own, "entry"))
        if handle is not None:
            handle.set_gid(gid(own, "handle"))


def _handle(name: str, style: Style) -> Line2D:
    return Line2D([], [], label=name, linewidth=1.0, markersize=3.5, **style)


def _legend_title(curves: _Curves) -> str:
    seeds = curves.comparison.rows["seed"].nunique()
    if seeds == 1:
        return "one seed"
    return f"mean {'± sd ' if len(curves.styles) <= MOST_BANDS else ''}of {seeds} seeds"
