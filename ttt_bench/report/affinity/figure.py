"""The figure of gaps of the task affinity, before and after adapting."""

from __future__ import annotations

import pandas as pd
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ttt_bench.analysis.affinity import AFTER, BEFORE
from ttt_bench.report.figures.drawing import laid_out, look
from ttt_bench.report.figures.line_styles import Style
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames

WIDTH, LINE = 3.4, 0.34
"""Width of the figure and height of a method in inches."""
SHIFT = 0.14
"""Distance of a method's two points from its line, so that neither hides the other."""
STYLES: dict[str, Style] = {
    BEFORE: {"color": "#0072b2", "marker": "o", "markerfacecolor": "none"},
    AFTER: {"color": "#b34700", "marker": "s"},
}


def gap_figure(values: pd.DataFrame, names: MethodNames = PROPER_NAMES) -> Figure:
    """Return the figure: one line per row of the table, with a point before and one after.

    Args:
        values: the gaps, as `analysis.affinity.gaps` returns them.
        names: the printed names of rows.
    """
    labels = list(values["label"].unique())
    with look():
        shown = Figure(figsize=(WIDTH, 0.95 + LINE * len(labels)))
        FigureCanvasAgg(shown)
        ax = shown.subplots()
        for point, shift in ((BEFORE, -SHIFT), (AFTER, SHIFT)):
            own = 100 * values.groupby("label", sort=False)[point].agg(["mean", "std"])
            places = [place + shift for place in range(len(labels))]
            ax.errorbar(
                own["mean"],
                places,
                xerr=own["std"].fillna(0),
                label=f"{point} adapting",
                linestyle="",
                markersize=5,
                elinewidth=1,
                **STYLES[point],
            )
        ax.set_yticks(range(len(labels)), list(map(names.of, labels)))
        ax.set_ylim(len(labels) - 0.5, -0.5)
        ax.set_xlim(left=0)
        ax.set_xlabel("gap to the fine-tuned model, % of the loss")
        shown.legend(loc="outside upper center", ncols=2, frameon=False)
        seaborn.despine(ax=ax)
        return laid_out(shown)
