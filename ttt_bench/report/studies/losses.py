"""The losses of a study's methods over its axis, before and after adapting."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import seaborn
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ttt_bench.analysis.evidence import Evidence
from ttt_bench.analysis.signals import LOSS, signals_of
from ttt_bench.analysis.studies import StudyResults
from ttt_bench.report.figures.drawing import laid_out, look
from ttt_bench.report.figures.line_styles import Style
from ttt_bench.report.notes.run import seeds_note
from ttt_bench.report.studies.notes import cell_notes, study_notes
from ttt_bench.report.studies.table import subtitle
from ttt_bench.report.tables import Column, Note, Number, Row, Section, Table

SIZE = (3.4, 2.6)
"""Width and height of the figure in inches."""
POINTS = {"first": "first step", "last": "last step"}
"""Column -> when the loss was computed, as a legend names it."""
CAPTION = (
    "Loss on the target, mean over batches and seeds. First step: before the first update on a "
    "batch. Last step: before the last update. Bars: sample standard deviation over seeds."
)
DEFINITION = Note(
    "Loss",
    "the sum of the method's loss terms at test time, mean over the target's batches: before the "
    "first update on each batch, and before the last one. Online, the network has adapted to "
    "earlier batches before the first update on a later one",
)


def losses_frame(found: StudyResults) -> pd.DataFrame:
    """Return the losses: one row per row of the study and seed.

    Columns `value, row, title, seed, first, last`: the loss before the first and before the last
    update, means over batches. `title` is the row's name in print.
    """
    rows = [row for arm in found.arms for row in _rows(found, arm.arm.label)]
    return pd.DataFrame(rows, columns=["value", "row", "title", "seed", "first", "last"])


def _rows(found: StudyResults, label: str) -> Iterator[tuple[object, ...]]:
    arm = next(arm for arm in found.arms if arm.arm.label == label)
    if arm.evidence is None or arm.evidence.comparison.rows.empty:
        return
    for (own, seed), (first, last) in cell_losses(arm.evidence).items():
        if own in arm.labels:
            yield arm.arm.value, arm.row_name(own), arm.row_title(own), seed, first, last


def cell_losses(evidence: Evidence) -> dict[tuple[str, int], tuple[float, float]]:
    """Map label and seed to the loss before the first and before the last update.

    They are means over batches. Cells without losses are missing.
    """
    observed = evidence.observed
    stored = signals_of(evidence.comparison, observed)
    found = {}
    for cell, signals in zip(observed.cells, stored, strict=True):
        if LOSS in signals:
            known = signals[LOSS][:, ~np.isnan(signals[LOSS]).all(axis=0)]  # (B, N)
            means = known.mean(axis=0)
            found[cell] = (float(means[0]), float(means[-1]))
    return found


def losses_table(found: StudyResults, frame: pd.DataFrame) -> Table:
    """Return the table of losses, means over seeds.

    Args:
        frame: as `losses_frame` returns it.
    """
    columns = [
        Column(key=f"loss_{name}", head=("loss,", head), decimals=4)
        for name, head in POINTS.items()
    ]
    columns.append(Column(key="loss_change_percent", head=("change", "%"), decimals=2))
    rows = tuple(_row(name, own) for name, own in frame.groupby("row", sort=False))
    seeds = [seeds_note(one) for one in found.comparisons[:1] if len(one.rows)]
    return Table(
        title=found.study.title,
        subtitle=subtitle(found),
        columns=tuple(columns),
        sections=(Section(key="losses", heading="loss on the target", rows=rows),),
        notes=(DEFINITION, *study_notes(found), *seeds, *cell_notes(found)),
        corner="arm",
    )


def _row(name: object, own: pd.DataFrame) -> Row:
    cells = {
        f"loss_{point}": Number(mean=own[point].mean(), sd=_spread(own[point])) for point in POINTS
    }
    change = 100 * (own["last"] / own["first"] - 1)
    cells["loss_change_percent"] = Number(mean=change.mean(), sd=_spread(change))
    return Row(label=str(name), title=str(own["title"].iloc[0]), cells=dict(cells))


def _spread(values: pd.Series) -> float | None:
    return float(values.std()) if len(values) > 1 else None


def losses_figure(found: StudyResults, frame: pd.DataFrame) -> Figure:
    """Return the figure of losses over the axis.

    Args:
        frame: as `losses_frame` returns it.
    """
    assert found.study.axis is not None
    styles: dict[str, Style] = {
        "first": {"color": "#0072b2", "marker": "o", "linestyle": "-"},
        "last": {"color": "#b34700", "marker": "s", "linestyle": "--", "markerfacecolor": "none"},
    }
    with look():
        shown = Figure(figsize=SIZE)
        FigureCanvasAgg(shown)
        ax = shown.subplots()
        for point, words in POINTS.items():
            own = frame.groupby("value")[point].agg(["mean", "std"]).reset_index()
            ax.errorbar(
                own["value"],
                own["mean"],
                own["std"].fillna(0),
                label=words,
                markersize=5,
                linewidth=1.3,
                **styles[point],
            )
        ax.set_xlabel(found.study.axis.name)
        ax.set_ylabel("loss on the target")
        ax.yaxis.set_major_locator(MaxNLocator(nbins=6))
        ax.legend(frameon=False)
        seaborn.despine(ax=ax)
        return laid_out(shown)
