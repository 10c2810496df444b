"""What is particular to the checks of PASCAL-Context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ttt_bench.data.pascal.dataset import PascalContext
from ttt_bench.data.pascal.ids import VOC_VOID, normals_valid
from ttt_bench.data.pascal.index import CONTEXT
from ttt_bench.datatools.check.axes import Verdict
from ttt_bench.datatools.check.conventions import measured_by_sight
from ttt_bench.datatools.check.findings import Finding
from ttt_bench.datatools.check.frameset import Frameset, Native
from ttt_bench.datatools.check.listed import Subject
from ttt_bench.datatools.check.values import Shares, Vectors
from ttt_bench.util.progress import Progress


def axes(sets: Sequence[Frameset], progress: Progress) -> Verdict | None:
    """Measured without depth, where there are Context labels."""
    return (
        measured_by_sight(sets, CONTEXT, progress)
        if all(CONTEXT in part.parts for part in sets)
        else None
    )


class PascalValues:
    """Ranges over the images that were decoded."""

    def __init__(self) -> None:
        self._vectors, self._edges = Vectors(), Shares()
        self._void: list[float] = []
        self._trusted: list[float] = []
        self._labels: set[int] = set()

    def add(self, native: Native) -> None:
        if "normals" in native:
            self._vectors.add(native["normals"])
        if "edge" in native:
            self._edges.add(native["edge"].astype(np.float32))
        if "semseg" in native:
            self._void.append(float((native["semseg"] == VOC_VOID).mean()))
        if CONTEXT in native:
            self._labels |= set(np.unique(native[CONTEXT]).tolist())
            self._trusted.append(float(normals_valid()[native[CONTEXT]].mean()))

    def findings(self, frames: Frameset) -> Iterator[Finding]:
        yield from self._vectors.findings(
            frames, "these are not unit vectors; take them from the archive again"
        )
        yield from self._edges.findings(frames)
        if self._void:
            good = np.mean(self._void) < 1
            message = f"semseg: {np.mean(self._void):.1%} of the pixels are void"
            yield Finding("ok" if good else "warning", "values", message, frames.example("semseg"))
        if self._trusted:
            message = (
                f"context: {len(self._labels)} of 459 labels seen; normals are used on {np.mean(self._trusted):.1%} of "
                "the pixels, whose labels occur indoors"
            )
            good = np.mean(self._trusted) > 0
            yield Finding("ok" if good else "warning", "values", message, frames.example(CONTEXT))


SUBJECT = Subject(
    PascalContext,
    {"pascal": "semseg", "pascal_context": CONTEXT},
    lambda listing: "the multi-task form",
    PascalValues,
    axes,
)
