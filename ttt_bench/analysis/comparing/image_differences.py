"""The images on which two compared rows differ most."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ttt_bench.analysis.comparing.matching import RowPair
from ttt_bench.analysis.evidence import Side, common_seeds
from ttt_bench.analysis.images import by_batch
from ttt_bench.errors import DamagedError
from ttt_bench.metrics.base import metrics_of
from ttt_bench.results.sums import image_sums
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.trajectories import changes

IMAGE_COLUMNS = ("image", "batch", "change", "task", "score_a", "score_b")
"""Columns of a frame of images: `image` is the position in the target's stream, `change` that of
the image (see `image_differences`); scores are means over the common seeds."""


def image_differences(pair: RowPair, rule: str, count: int) -> pd.DataFrame:
    """Return the images with the largest change from b to a, one row per image and task.

    The change of an image is the mean over tasks of a - b, in percent of the score of b on all
    images, with the sign that makes a gain positive. Images are ranked by its size. An aligned
    prediction keeps the alignment of its evaluation batch.

    Args:
        pair: the rows a and b.
        rule: the step rule.
        count: the number of images.

    Returns:
        Columns `IMAGE_COLUMNS`, the largest change first. It is empty if a cell has no statistics,
        or if a and b have other images.
    """
    first, second = pair.first.side(pair.a, rule), pair.second.side(pair.b, rule)
    seeds = common_seeds(first, second)
    ours = _scores(first, pair.first.comparison, seeds)
    theirs = _scores(second, pair.second.comparison, seeds)
    moved = {entry.name for entry in pair.unequal} & {"pair", "target", "target_images"}
    if moved or ours is None or theirs is None:
        return pd.DataFrame(columns=list(IMAGE_COLUMNS))
    return _largest(ours, theirs, _whole(second, seeds, [str(task) for task in ours]), count)


def image_scores(folder: Path, step: int) -> pd.DataFrame | None:
    """Return the scores of each image of a cell at a step.

    Returns:
        Index `image, batch`, one column per task; None if the cell has no statistics of the step.
    """
    if not (folder / "statistics.parquet").exists():
        return None
    try:
        found = image_sums(folder)
    except DamagedError:
        return None
    at = np.flatnonzero(found.steps == step)
    if not len(at):
        return None
    order, batch = by_batch(found)
    scores = {}
    for task, values in found.values.items():
        metrics = metrics_of(task)
        # (T, I, S) -> (I, D) -> (I,)
        sums = metrics.linear_sums(values[at[0]][order], batch)
        scores[task] = metrics.score_of_sums(sums)
    names = [found.images[order], found.batches[order]]
    index = pd.MultiIndex.from_arrays(names, names=["image", "batch"])
    return pd.DataFrame(scores, index=index)


def _scores(side: Side, comparison: Comparison, seeds: Sequence[int]) -> pd.DataFrame | None:
    """Return the mean over seeds of the scores of each image; None if a cell lacks statistics."""
    places, frames = side.chosen.rows(side.label), []
    for seed in seeds:
        folder = comparison.folders[side.label, seed]
        frames.append(image_scores(Path(folder), int(side.chosen.steps[places[seed]])))
    known = [frame for frame in frames if frame is not None]
    if not known or len(known) < len(frames):
        return None
    mean = pd.concat(known).groupby(level=["image", "batch"]).mean()
    return mean[[task for task in comparison.tasks if task in mean]]


def _whole(side: Side, seeds: Sequence[int], tasks: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean over seeds of the scores of all images, (n,)."""
    rows = side.chosen.rows(side.label)
    places = [side.chosen.quantities.index(task) for task in tasks]
    values = side.chosen.values[[rows[seed] for seed in seeds]]
    return np.asarray(values[:, places].mean(axis=0))


def _largest(
    ours: pd.DataFrame, theirs: pd.DataFrame, whole: NDArray[np.float64], count: int
) -> pd.DataFrame:
    """Return the images that differ most; `whole` has the scores of b on all images, (n,)."""
    images = ours.index.get_level_values("image")
    tasks = [str(task) for task in ours]
    a, b = ours.to_numpy(), theirs.droplevel("batch").reindex(images)[tasks].to_numpy()
    # (I, n) -> (I,); a task without a valid pixel in the image does not count
    change = pd.DataFrame(changes(whole + a - b, whole, tuple(tasks))).mean(axis=1).to_numpy()
    largest = np.argsort(-np.abs(change), kind="stable")[:count]
    top = ours.index[largest].to_frame(index=False).assign(change=change[largest])
    repeated = top.loc[top.index.repeat(len(tasks))].reset_index(drop=True)
    return repeated.assign(
        task=tasks * len(top), score_a=a[largest].ravel(), score_b=b[largest].ravel()
    )[list(IMAGE_COLUMNS)]
