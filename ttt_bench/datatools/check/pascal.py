"""The checks that only PASCAL-Context needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.pascal.dataset import PascalContext
from ttt_bench.data.pascal.ids import VOC_VOID, normals_valid
from ttt_bench.data.pascal.index import CONTEXT
from ttt_bench.datatools.check.agreement.colours import Colours
from ttt_bench.datatools.check.agreement.contours import (
    edge_contours,
    label_contours,
    normal_contours,
)
from ttt_bench.datatools.check.conventions import Measurement, measure_without_depth
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native
from ttt_bench.datatools.check.labels.steps import LabelSteps
from ttt_bench.datatools.check.labels.two_sources import TwoSources
from ttt_bench.datatools.check.listed import CheckedSet
from ttt_bench.datatools.check.values import EdgeValues, NormalValues
from ttt_bench.util.progress import Progress


def measure_axes(sets: Sequence[Frameset], progress: Progress) -> Measurement | None:
    """Measure the normal axes without depth; return None without Context labels."""
    if not all(CONTEXT in frames.parts for frames in sets):
        return None
    return measure_without_depth(sets, CONTEXT, progress)


class PascalValues:
    """The values of the decoded images."""

    def __init__(self) -> None:
        self._normals, self._edges = NormalValues(), EdgeValues()
        self._void: list[float] = []
        self._trusted: list[float] = []
        self._labels: set[int] = set()
        self._colours, self._steps = Colours(), LabelSteps("semseg")
        self._sources = TwoSources()

    def add(self, native: Native) -> None:
        """Add the arrays of an image."""
        self._colours.add(native[IMAGE])
        if "normals" in native:
            self._normals.add(native["normals"])
        if "edge" in native:
            self._edges.add(native["edge"].astype(np.float32))
        if "semseg" in native:
            self._void.append(float((native["semseg"] == VOC_VOID).mean()))
            self._steps.add(native["semseg"])
        if "semseg" in native and CONTEXT in native:
            self._sources.add(native["semseg"], native[CONTEXT])
        if CONTEXT in native:
            self._labels |= set(np.unique(native[CONTEXT]).tolist())
            self._trusted.append(float(normals_valid()[native[CONTEXT]].mean()))

    def findings(self, frames: Frameset) -> Iterator[Finding]:
        """Yield the results."""
        yield from self._normals.findings(
            frames, "these are not unit vectors; take them from the archive again"
        )
        yield from self._edges.findings(frames)
        yield from self._colours.findings(frames.example(IMAGE))
        if self._void:
            yield from self._steps.findings(frames.example("semseg"))
            yield from self._sources.findings(frames.example("semseg"))
            share = np.mean(self._void)
            message = f"semseg: {share:.1%} of the pixels are void"
            yield Finding.ok_if(bool(share < 1), "values", message, frames.example("semseg"))
        if self._trusted:
            share = np.mean(self._trusted)
            message = (
                f"context: {len(self._labels)} of 459 labels seen; normals are used on "
                f"{share:.1%} of the pixels, whose labels occur indoors"
            )
            yield Finding.ok_if(bool(share > 0), "values", message, frames.example(CONTEXT))


CONTOURS = {
    "semseg": label_contours,
    CONTEXT: label_contours,
    "normals": normal_contours,
    "edge": edge_contours,
}
"""The contour maps of the parts."""

CHECKED = CheckedSet(
    dataset=PascalContext,
    labels={"pascal": "semseg", "pascal_context": CONTEXT},
    form=lambda listing: "the multi-task form",
    values=PascalValues,
    measure_axes=measure_axes,
    contours=CONTOURS,
    check_labels=lambda sets, axes, progress: iter(()),
)
