"""The table of the target's pixels per semantic class; a class without pixels limits mean IoU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ttt_bench.report.tables import Column, Note, Number, Row, Section, Table
from ttt_bench.stats.comparison import Comparison


def named(counts: np.ndarray, classes: tuple[str, ...]) -> dict[str, float]:
    """Map class to pixels.

    Args:
        counts: pixels of each class, (K,).
        classes: the classes' names; if they are not K names, the classes are numbered.
    """
    if len(classes) != len(counts):
        classes = tuple(f"class {index}" for index in range(len(counts)))
    return dict(zip(classes, counts.tolist(), strict=True))


def absent_notes(pixels: Mapping[str, float]) -> list[Note]:
    """Return a note on the classes without pixels and on the largest possible mean IoU."""
    absent = [name for name, count in pixels.items() if count == 0]
    if not absent:
        return []
    limit = 100 * (1 - len(absent) / len(pixels))
    text = (
        f"{', '.join(absent)}: the target has no such pixels. IoU counts as 0, so mIoU is at most "
        f"{limit:.1f} %"
    )
    return [Note("Classes", text)]


def build(comparison: Comparison, pixels: Mapping[str, float]) -> Table | None:
    """Return the table of pixels and shares; None without semantic segmentation."""
    total = sum(pixels.values())
    if not total:
        return None
    rows = tuple(_row(name, count, total) for name, count in pixels.items())
    detail = "pixels with a target value, over all images"
    return Table(
        title=f"{comparison.title}: pixels of each class",
        subtitle=comparison.subtitle,
        columns=(
            Column(key="pixels", head=("pixels",), decimals=0),
            Column(key="share_percent", head=("share", "%")),
        ),
        sections=(Section(key="target", heading="target", rows=rows, detail=detail),),
        notes=tuple(absent_notes(pixels)),
        corner="class",
    )


def _row(name: str, count: float, total: float) -> Row:
    share = Number(mean=100 * count / total)
    return Row(label=name, cells={"pixels": Number(mean=count), "share_percent": share})
