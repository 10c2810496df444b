"""Check whether Taskonomy's edge files follow from its depth files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttt_bench.data.taskonomy.edges import edge_mask, edges_from_depth
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, sample_frames
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress

LEAST = 0.99
"""Correlation above which missing edges may be made from depth."""

_FRAMES = 12
_TOO_FLAT = 1.0
"""Standard deviation in counts below which a frame is not compared."""


def edge_correlation(sets: Sequence[Frameset], progress: Progress) -> tuple[float, int]:
    """Return the mean correlation of edge files with the formula, and the number of frames."""
    found = []
    sample = sample_frames(sets, _FRAMES)
    with progress.bar("comparing edges with depth", len(sample)) as bar:
        for frames, index in sample:
            found.append(_correlation(frames, index))
            bar.advance()
    known = [value for value in found if value is not None]
    return (float(np.mean(known)), len(known)) if known else (0.0, 0)


def check_edges(sets: Sequence[Frameset], progress: Progress) -> Finding:
    """Return whether missing or damaged edge files can be made from depth."""
    correlation, count = edge_correlation(sets, progress)
    path = sets[0].example("edge")
    if not count:
        message = "edges: no frame allows a comparison with the formula on depth"
        return Finding.warning("edges", message, path)
    message = (
        f"edges: correlation {correlation:.4f} with the annotator's formula on depth "
        f"(frames: {count}); "
    )
    if correlation >= LEAST:
        message += (
            "missing or damaged edge files can be made from depth: "
            "`ttt-bench data prepare taskonomy --edges`"
        )
    else:
        message += "these are not the published edges of this depth, so none can be made from it"
    return Finding.ok_if(correlation >= LEAST, "edges", message, path, count=count)


def _correlation(frames: Frameset, index: int) -> float | None:
    """Return the correlation on one frame, or None if the frame does not allow a comparison."""
    try:
        native = frames.read(index, ("edge", "depth"))
    except DataError:
        return None  # reported where files are decoded
    valid = edge_mask(native["depth"])
    file = native["edge"][valid].astype(np.float64)
    formula = edges_from_depth(native["depth"])[valid].astype(np.float64)
    if not len(file) or min(file.std(), formula.std()) < _TOO_FLAT:
        return None
    return float(np.corrcoef(file, formula)[0, 1])
