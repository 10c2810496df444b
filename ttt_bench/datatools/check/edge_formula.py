"""Do Taskonomy's edge files follow from its depth files?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from ttt_bench.data.taskonomy.edges import edge_mask, edges_from_depth
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, sampled
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress

LEAST = 0.99
"""The correlation from which on edges may be made from depth."""

_FRAMES = 12
_TOO_FLAT = 1.0  # counts of standard deviation; less says nothing


def edge_correlation(sets: Sequence[Frameset], progress: Progress) -> tuple[float, int]:
    """The mean correlation of edge files with the formula over a dozen frames, and how many had
    edges to compare.
    """
    found = []
    sample = sampled(sets, _FRAMES)
    with progress.bar("comparing edges with depth", len(sample)) as bar:
        for part, index in sample:
            with suppress(DataError):  # named where files are decoded
                native = part.read(index, ("edge", "depth"))
                there = edge_mask(native["depth"])
                file = native["edge"][there].astype(np.float64)
                formula = edges_from_depth(native["depth"])[there].astype(np.float64)
                if len(file) and min(file.std(), formula.std()) >= _TOO_FLAT:
                    found.append(float(np.corrcoef(file, formula)[0, 1]))
            bar.advance()
    return (float(np.mean(found)), len(found)) if found else (0.0, 0)


def check_edges(sets: Sequence[Frameset], progress: Progress) -> Finding:
    """Whether missing or damaged edge files could be made from depth."""
    correlation, count = edge_correlation(sets, progress)
    path = sets[0].example("edge")
    if not count:
        return Finding(
            "warning",
            "edges",
            "edges: no frame allows a comparison with the formula on depth",
            path,
        )
    good = correlation >= LEAST
    message = (
        f"edges: correlation {correlation:.4f} with the annotator's formula on depth (frames: {count})"
        + (
            "; missing or damaged edge files can be made from depth: `ttt-bench data prepare taskonomy --edges`"
            if good
            else "; these are not the published edges of this depth, and none can be made from it"
        )
    )
    return Finding("ok" if good else "warning", "edges", message, path, count)
