"""Check whether Taskonomy's edge files follow from its depth files.

The annotator's formula fixes the unit of depth: edges are proportional to the square root of the
counts. The correlation of files with the formula does not depend on the unit, but the slope does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ttt_bench.data.images.files import Problem
from ttt_bench.data.taskonomy.depth import COUNTS_PER_METRE
from ttt_bench.data.taskonomy.edges import edge_mask, edges_from_depth
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, sample_frames
from ttt_bench.errors import DataError
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

_LEAST = 0.99
"""Correlation above which edges follow from depth."""
_TOLERANCE = 0.02
"""Deviation of the slope from 1 up to which depth has the annotator's unit."""
_FRAMES = 48
_TOO_FLAT = 1.0
"""Standard deviation in counts below which a frame is not compared."""
_UNITS = {1000.0: "millimetres", 100.0: "centimetres", 256.0: "1/256 m", 5000.0: "1/5000 m"}
_NEAR_UNIT = 0.05  # relative difference up to which a number of counts per metre is one of these


@dataclass(frozen=True)
class _FrameFit:
    """The comparison of one frame: the correlation with the formula, and files over formula."""

    frame: Problem
    correlation: float
    slope: float


@dataclass(frozen=True, kw_only=True)
class EdgeFit:
    """The comparison of edge files with the formula on depth.

    Attributes:
        correlation: the median over the frames that were compared; 0 without any.
        slope: the median factor between the files and the formula.
        count: the number of frames that were compared.
        others: the frames whose edges do not follow from their depth although most do.
    """

    correlation: float
    slope: float
    count: int
    others: tuple[Problem, ...] = ()

    @property
    def same_unit(self) -> bool:
        """Whether depth has the unit in which the edges were made."""
        return abs(self.slope - 1.0) <= _TOLERANCE

    @property
    def problem(self) -> str | None:
        """The reason why no edges can be made from depth; None if they can."""
        if not self.count:
            return "no frame has both an edge and a depth file that can be compared"
        if self.correlation < _LEAST:
            return (
                "these are not the published edges of this depth (correlation "
                f"{self.correlation:.4f}, at least {_LEAST} is needed)"
            )
        if not self.same_unit:
            return f"the edge files are {self.slope:.3f} times the formula on depth, so {self.unit}"
        return None

    @property
    def unit(self) -> str:
        """A description of the unit of depth that follows from the slope."""
        per_metre = COUNTS_PER_METRE / self.slope**2 if self.slope > 0 else np.inf
        near = [
            name for count, name in _UNITS.items() if abs(per_metre / count - 1.0) <= _NEAR_UNIT
        ]
        named = f" ({near[0]})" if near else ""
        return f"depth has about {per_metre:.0f} counts per metre{named} instead of 512"


def compare_edges(sets: Sequence[Frameset], progress: Progress) -> EdgeFit:
    """Compare the edge files of an evenly spread sample of frames with the formula on depth."""
    sample, title = sample_frames(sets, _FRAMES), "comparing edges with depth"
    fits = [fit for fit in map_in_threads(_fit, sample, title, progress) if fit is not None]
    if not fits:
        return EdgeFit(correlation=0.0, slope=0.0, count=0)
    correlation = float(np.median([fit.correlation for fit in fits]))
    slope = float(np.median([fit.slope for fit in fits]))
    others = tuple(
        fit.frame
        for fit in fits
        if correlation >= _LEAST
        and (fit.correlation < _LEAST or abs(fit.slope / slope - 1.0) > _TOLERANCE)
    )
    return EdgeFit(correlation=correlation, slope=slope, count=len(fits), others=others)


def check_edges(sets: Sequence[Frameset], progress: Progress) -> Iterator[Finding]:
    """Yield whether missing or damaged edge files can be made from depth, and its unit."""
    fit = compare_edges(sets, progress)
    path = sets[0].example("edge")
    compared = (
        f"edges: correlation {fit.correlation:.4f} with the annotator's formula on depth, slope "
        f"{fit.slope:.3f} (frames: {fit.count})"
    )
    if fit.problem is None:
        message = (
            f"{compared}; missing or damaged edge files can be made from depth: "
            "`ttt-bench data prepare taskonomy --edges`"
        )
        yield Finding.ok("edges", message, path, fit.count)
    elif not fit.count:
        message = "edges: no frame allows a comparison with the formula on depth"
        yield Finding.warning("edges", message, path)
    else:
        message = (
            f"{compared}; {fit.problem}, so none can be made from it. Download both domains again"
        )
        yield Finding.warning("edges", message, path, fit.count, about="depth")
    if fit.others:
        names = ", ".join(frame.message for frame in fit.others[:3])
        message = (
            f"edges: {len(fit.others)} of {fit.count} frames do not follow from their depth, "
            f"though the others do, such as {names}; download both files of these frames again"
        )
        path, count = fit.others[0].path, len(fit.others)
        yield Finding.warning("edges", message, path, count, about="depth")


def _fit(place: tuple[Frameset, int]) -> _FrameFit | None:
    """Compare one frame; return None if the frame does not allow it."""
    frames, index = place
    try:
        native = frames.read(index, ("edge", "depth"))
    except DataError:
        return None  # reported where files are decoded
    valid = edge_mask(native["depth"])
    file = native["edge"][valid].astype(np.float64)
    formula = edges_from_depth(native["depth"])[valid].astype(np.float64)
    if not len(file) or min(file.std(), formula.std()) < _TOO_FLAT:
        return None
    correlation = float(np.corrcoef(file, formula)[0, 1])
    slope = float(file @ formula / (formula @ formula))
    frame = Problem(frames.frames.path(index, "edge"), frames.frames.name(index))
    return _FrameFit(frame, correlation, slope)
