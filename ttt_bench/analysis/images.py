"""The stored statistics of images as sums over the units that a bootstrap draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttt_bench.errors import DamagedError
from ttt_bench.metrics.base import metrics_of
from ttt_bench.results.sums import ImageSums, image_sums
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.trajectories import Trajectories

Array = NDArray[np.float64]
CellSums = Mapping[str, Array]
"""Task -> sums of each unit at each step of a cell, (U, T + 1, D) (`TaskMetrics.linear_sums`)."""

TOLERANCE = 1e-6
"""Largest relative difference of a score from statistics and the stored score."""


@dataclass(frozen=True, kw_only=True)
class Images:
    """The statistics of the images of a comparison.

    Attributes:
        units: the number of units U: images, or evaluation batches; 0 without statistics.
        cells: the sums of each cell; None for a cell that has none or other units, or whose
            statistics do not give its stored scores.
    """

    units: int
    cells: tuple[CellSums | None, ...]


def images_of(comparison: Comparison, observed: Trajectories) -> Images:
    """Return the statistics of a comparison's cells, in the order of its trajectories."""
    folders = comparison.folders
    found = [_cell_sums(Path(folders[cell]), comparison) for cell in observed.cells]
    sizes = [_units(sums) for sums in found if sums]
    # cells of one comparison share the target, so other sizes come from incomplete statistics
    units = max(set(sizes), key=sizes.count) if sizes else 0
    kept = [
        sums if sums and _units(sums) == units and _agrees(sums, observed, number) else None
        for number, sums in enumerate(found)
    ]
    return Images(units=units, cells=tuple(kept))


def source_sums(
    folder: Path, comparison: Comparison, scores: Mapping[str, float], units: int
) -> CellSums:
    """Return the sums of a method's own source model before adapting, (U, D) per task.

    A task is missing without stored statistics, if the units are others, or if the statistics do
    not give its stored score.

    Args:
        scores: task -> stored score.
        units: the number of units U.
    """
    found = {}
    for task, sums in (_cell_sums(folder, comparison, "source") or {}).items():
        score = metrics_of(task).score_of_sums(sums[:, 0].sum(axis=0))
        if len(sums) == units and np.isclose(score, scores.get(task, np.nan), rtol=TOLERANCE):
            found[task] = sums[:, 0]
    return found


def unit_sums(task: str, images: Array, batch: NDArray[np.intp], *, whole_batches: bool) -> Array:
    """Return the sums of each unit, (U, T + 1, D), of the sums of each image.

    Args:
        images: (T + 1, N, S), by evaluation batch.
        batch: the number of each image's batch, (N,), ascending from 0.
        whole_batches: a unit is a batch, not an image.
    """
    # (T + 1, N, S) -> (T + 1, N, D)
    sums = metrics_of(task).linear_sums(images, batch)
    if whole_batches:
        sums = np.add.reduceat(sums, np.searchsorted(batch, np.arange(batch[-1] + 1)), axis=1)
    return np.ascontiguousarray(np.moveaxis(sums, 1, 0))


def _cell_sums(folder: Path, comparison: Comparison, name: str = "statistics") -> CellSums | None:
    """Return a cell's sums; None if the table of statistics is missing or damaged."""
    if not (folder / f"{name}.parquet").exists():
        return None
    try:
        found = image_sums(folder, name)
    except DamagedError:
        return None
    order, batch = by_batch(found)
    whole = comparison.protocol.batches_depend
    return {
        task: unit_sums(task, values[:, order], batch, whole_batches=whole)
        for task, values in found.values.items()
    }


def by_batch(found: ImageSums) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order of images by batch, (N,), and their batches in it, from 0, (N,)."""
    order = np.argsort(found.batches, kind="stable")
    return order, np.unique(found.batches[order], return_inverse=True)[1]


def _units(sums: CellSums) -> int:
    return len(next(iter(sums.values())))


def _agrees(sums: CellSums, observed: Trajectories, cell: int) -> bool:
    """Return whether the statistics of a cell give its stored scores at every step."""
    steps = observed.last[cell] + 1
    for number, task in enumerate(observed.tasks):
        stored = observed.scores[cell, :steps, number]
        if task not in sums:
            if not np.isnan(stored).all():
                return False
            continue
        scores = metrics_of(task).score_of_sums(sums[task].sum(axis=0))
        if len(scores) != steps or not np.allclose(scores, stored, rtol=TOLERANCE, atol=0):
            return False
    return True
