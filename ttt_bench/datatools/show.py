"""Draw a contact sheet of a data set: each image next to its targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from ttt_bench.data.base import Dataset
from ttt_bench.metrics import colours
from ttt_bench.metrics.base import LegendEntry, metrics_of
from ttt_bench.tasks import IGNORE
from ttt_bench.util.atomic import replacing
from ttt_bench.util.os_errors import explained

_CELL = 2.2  # inches
_LEGEND = 0.8  # inches


def contact_sheet(
    dataset: Dataset, indices: Sequence[int], class_names: Sequence[str], path: Path
) -> None:
    """Write a PNG with one row per image: the image, then the target of each task.

    Depth and edges are scaled to the range of each picture; the title states the range in the units
    of the target. Pixels without a target are grey; the title states their share.

    Args:
        indices: the images, at least one.
        class_names: names of the class indices, for the legend; empty to omit them.
        path: the PNG file; its folder must exist. The file appears when it is complete.

    Raises:
        DataError: a file of the data set is damaged.
        BenchError: the sheet cannot be written.
    """
    figure = _sheet(dataset, indices)
    entries = [entry for task in dataset.tasks for entry in metrics_of(task).legend(class_names)]
    _legend(figure, entries)
    with explained(path, "choose another file with --out"), replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _sheet(dataset: Dataset, indices: Sequence[int]) -> Figure:
    height, width = dataset.size
    columns = 1 + len(dataset.tasks)
    cell = _CELL * height / width
    inches = (columns * _CELL, len(indices) * (cell + 0.35) + _LEGEND)
    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(indices), columns, squeeze=False)
    for row, index in zip(axes, indices, strict=True):
        batch = dataset.batch([index])
        image = batch.images[0].numpy().transpose(1, 2, 0)  # (3, H, W) -> (H, W, 3)
        _show(row[0], np.rint(image * 255).astype(np.uint8), dataset.name(index))
        for axis, task in zip(row[1:], dataset.tasks, strict=True):
            _show(axis, *_picture(task, batch.targets[task][0].numpy()))
    return figure


def _picture(task: str, target: NDArray[np.float32]) -> tuple[colours.Picture, str]:
    """Return the picture and the title of a target."""
    valid = target[target != IGNORE]
    lacking = 1 - valid.size / target.size
    note = f"\n{lacking:.1%} without target" if lacking else "\n"
    metrics = metrics_of(task)
    limits = metrics.value_range(target)
    title = f"{task} {limits[0]:.2f} to {limits[1]:.2f}" if limits else task
    return metrics.picture(target), title + note


def _show(axis: Axes, picture: colours.Picture, title: str) -> None:
    axis.imshow(picture, interpolation="nearest")
    axis.set_title(title, fontsize=8)
    axis.set_axis_off()


def _legend(figure: Figure, classes: Sequence[LegendEntry]) -> None:
    entries = [*classes, ("no target", colours.NO_TARGET)]
    figure.legend(
        handles=[
            Patch(color=(r / 255, g / 255, b / 255), label=name) for name, (r, g, b) in entries
        ],
        loc="outside lower center",
        ncols=min(len(entries), 5),
        fontsize=8,
        frameon=False,
    )
