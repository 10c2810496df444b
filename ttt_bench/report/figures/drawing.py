"""The look of figures, and figures as files."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ttt_bench.report.figures.inline import GRID, INK, PAPER, inline
from ttt_bench.report.formats.sections import Drawn

WIDTH = 3.46
"""Width of a figure in inches: one column of print, 88 mm."""
PER_LINE = 2
"""Panels per line."""
LETTERS = 62
"""Letters per line of a figure's title."""
AXIS = "#8c8c8c"
"""Colour of axes, with a contrast of 3:1 to a white and to a dark ground."""
_SIZES = {
    "grid.color": GRID,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": AXIS,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "axes.labelpad": 2,
    "hatch.linewidth": 0.5,
    # every point of a line is kept, so that its values can be shown
    "path.simplify": False,
}
_SVG: dict[Any, Any] = {
    "svg.hashsalt": "ttt-bench",
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
}
"""Settings of SVG files: texts are texts, in a font as wide as that of the layout, if present."""
_PDF: dict[Any, Any] = {"pdf.fonttype": 42}
"""Settings of PDF files: fonts are embedded as TrueType, which publishers ask for."""


def look() -> AbstractContextManager[None]:
    """Return a context with matplotlib's settings for a figure; the caller's are restored."""
    style = seaborn.axes_style("whitegrid") | seaborn.plotting_context("paper")
    return matplotlib.rc_context(style | _SIZES)


def panels(number: int, height: float, extra: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Return a figure as wide as one column of print, with axes for at least `number` panels.

    Axes that are not needed are switched off.

    Args:
        height: height of a line of panels, in inches.
        extra: height of titles and legends, in inches.
    """
    columns = min(PER_LINE, number)
    lines = math.ceil(number / columns)
    shown = blank(lines * height + extra)
    axes = list(shown.subplots(lines, columns, squeeze=False).flat)
    for ax in axes[number:]:
        ax.set_axis_off()
    return shown, axes


def blank(height: float) -> Figure:
    """Return an empty figure as wide as one column of print; `height` is in inches."""
    shown = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(shown)
    return shown


def add_title(shown: Figure, *lines: str) -> None:
    """Set the title of a figure, each line wrapped to the width of one column."""
    text = "\n".join(textwrap.fill(line, LETTERS) for line in lines if line)
    shown.suptitle(text, x=0.01, ha="left", fontsize=7)


def laid_out(shown: Figure) -> Figure:
    """Return the figure with its layout computed.

    A figure that keeps its layout engine is drawn a second time for every file.
    """
    ConstrainedLayoutEngine().execute(shown)
    return shown


def png(shown: Figure, dpi: int = 300) -> bytes:
    """Return the figure as a PNG file."""
    buffer = io.BytesIO()
    shown.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def svg(shown: Figure) -> bytes:
    """Return the figure as an SVG file; equal figures give equal files."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_SVG):
        shown.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def pdf(shown: Figure) -> bytes:
    """Return the figure as a PDF file; equal figures give equal files."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(_PDF):
        shown.savefig(buffer, format="pdf", metadata={"CreationDate": None})
    return buffer.getvalue()


def drawn(
    shown: Figure, name: str, alt: str, tips: Mapping[str, Sequence[str]] | None = None
) -> Drawn:
    """Return the figure as files, and as markup for a page.

    Args:
        name: a name that no other figure of the page has.
        alt: the figure in words, for readers who cannot see it.
        tips: see `inline.inline`.
    """
    file = svg(shown)
    return Drawn(
        png=png(shown), svg=file, pdf=pdf(shown), inline=inline(file, name, alt, tips or {})
    )
