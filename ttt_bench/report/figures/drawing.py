"""The look of figures, and figures as files."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager

import matplotlib
import seaborn
from matplotlib.figure import Figure

from ttt_bench.report.formats.sections import Drawn

_SIZES = {
    "grid.color": ".9",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "hatch.linewidth": 0.5,
}


def look() -> AbstractContextManager[None]:
    """Return a context with matplotlib's settings for a figure; the caller's are restored."""
    style = seaborn.axes_style("whitegrid") | seaborn.plotting_context("paper")
    return matplotlib.rc_context(style | _SIZES)


def laid_out(shown: Figure) -> Figure:
    """Return the figure with its layout computed; without that, every file computes it again."""
    shown.draw_without_rendering()
    shown.set_layout_engine("none")
    return shown


def png(shown: Figure, dpi: int = 150) -> bytes:
    """Return the figure as a PNG file."""
    buffer = io.BytesIO()
    shown.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def svg(shown: Figure) -> bytes:
    """Return the figure as an SVG file; equal figures give equal files."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ttt-bench"}):
        shown.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def drawn(shown: Figure) -> Drawn:
    """Return the figure as files."""
    return Drawn(png=png(shown), svg=svg(shown))
