"""How many pixels of the target each semantic class has: a class without any caps the mean IoU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ttt_bench.report.notes import Note
from ttt_bench.report.tables import Column, Number, Row, Section, Table
from ttt_bench.stats.comparison import Comparison


def named(counts: np.ndarray, classes: tuple[str, ...]) -> dict[str, float]:
    """Class -> pixels, from counts (K,); classes go by number where there is no name for each."""
    names = (
        classes
        if len(classes) == len(counts)
        else tuple(f"class {index}" for index in range(len(counts)))
    )
    return dict(zip(names, counts.tolist(), strict=True))


def absent_notes(pixels: Mapping[str, float]) -> list[Note]:
    """Which classes have no pixel in the target, and the mean IoU that this leaves at most."""
    absent = [name for name, count in pixels.items() if count == 0]
    if not absent:
        return []
    most = 100 * (1 - len(absent) / len(pixels))
    whose = "its" if len(absent) == 1 else "their"
    text = (
        f"no pixel in the target, so that {whose} IoU counts 0 and mIoU cannot exceed {most:.1f} %"
    )
    return [("Classes", f"{', '.join(absent)}: {text}")]


def build(comparison: Comparison, pixels: Mapping[str, float]) -> Table | None:
    """Lay out the classes with their pixels and share; None without semantic segmentation."""
    total = sum(pixels.values())
    if not total:
        return None
    columns = (Column("pixels", ("pixels",), 0), Column("share_percent", ("share", "%"), 2))
    rows = [
        Row(name, {"pixels": Number(count), "share_percent": Number(100 * count / total)})
        for name, count in pixels.items()
    ]
    section = Section("target", "target", tuple(rows), "pixels with a truth, over all images")
    title = f"{comparison.title}: pixels of each class"
    return Table(
        title, comparison.subtitle, columns, (section,), tuple(absent_notes(pixels)), corner="class"
    )
