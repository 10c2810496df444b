"""Read the statistics of the images of a cell as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ttt_bench.errors import DamagedError
from ttt_bench.results.integrity import read_columns
from ttt_bench.results.records import REMEDY
from ttt_bench.results.schema import STATISTICS_COLUMNS
from ttt_bench.tasks import canonical

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ImageSums:
    """The statistics of the images of a cell.

    Attributes:
        values: task -> (T, I, S) for T steps, I images and the S sums of the task.
        steps: the stored steps in ascending order, (T,).
        images: the images' positions in the target's stream in ascending order, (I,).
        batches: number of the evaluation batch of each image, (I,).
    """

    values: Mapping[str, Array]
    steps: Indices
    images: Indices
    batches: Indices


def image_sums(folder: Path, name: str = "statistics") -> ImageSums:
    """Return the statistics of a cell.

    Args:
        name: the table: statistics, or source (`schema`).

    Raises:
        DamagedError: the file is missing or damaged, or a step lacks an image of a task.
        DataError: the file cannot be read.
    """
    path = Path(folder) / f"{name}.parquet"
    table = read_columns(path, list(STATISTICS_COLUMNS))
    missing = [name for name in STATISTICS_COLUMNS if name not in table.column_names]
    if missing:
        raise DamagedError(path, f"no column {', '.join(missing)}", REMEDY)
    if not table.num_rows:
        raise DamagedError(path, "it has no rows", REMEDY)
    try:
        return _arrays(table.combine_chunks())
    except ValueError as error:
        raise DamagedError(path, str(error), REMEDY) from error


def _arrays(table: pa.Table) -> ImageSums:
    """Return the arrays of a whole table.

    Raises:
        ValueError: it is not one row per step, image and task.
    """
    steps, time = np.unique(_numbers(table, "step"), return_inverse=True)
    images, first, place = np.unique(
        _numbers(table, "image"), return_index=True, return_inverse=True
    )
    flat, starts = _lists(table["values"])
    tasks = table["task"].chunk(0).dictionary_encode()
    codes = tasks.indices.to_numpy()
    shape, slots = (len(steps), len(images)), time * len(images) + place
    found = {}
    for code, task in enumerate(tasks.dictionary.to_pylist()):
        own = np.flatnonzero(codes == code)
        found[task] = _of_task(flat, starts, own, _order(slots[own], shape, task)).reshape(
            *shape, -1
        )
    return ImageSums(
        values={task: found[task] for task in canonical(found)},
        steps=steps,
        images=images,
        batches=_numbers(table, "batch")[first],
    )


def _numbers(table: pa.Table, name: str) -> Indices:
    found: Indices = table[name].to_numpy().astype(np.int64, copy=False)
    return found


def _lists(column: Any) -> tuple[Array, Indices]:
    """Return the values of R lists, (N,), and the places where they start and end, (R + 1,).

    Raises:
        ValueError: the column does not contain lists of numbers.
    """
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise ValueError(f"its values are {column.type}, not lists")
    lists = column.chunk(0)
    return lists.values.to_numpy().astype(np.float64, copy=False), lists.offsets.to_numpy()


def _order(slots: Indices, shape: tuple[int, int], task: str) -> Indices:
    """Return the order of a task's rows by step and image.

    Args:
        slots: the place of each row in the flattened steps x images.
        shape: the numbers of steps and images.
        task: the task's name, for the message.

    Raises:
        ValueError: an image is missing or there twice.
    """
    if not np.array_equal(
        np.bincount(slots, minlength=shape[0] * shape[1]), np.ones(shape).ravel()
    ):
        raise ValueError(f"{task} does not have one row per step and image")
    return np.argsort(slots, kind="stable")


def _of_task(flat: Array, starts: Indices, rows: Indices, order: Indices) -> Array:
    """Return the sums of some lists in order, (rows, S).

    Raises:
        ValueError: the lists differ in length.
    """
    begin, end = starts[rows][order], starts[rows + 1][order]
    (width, *others) = np.unique(end - begin)
    if others:
        raise ValueError(f"the statistics of one task have {width} to {others[-1]} values")
    return flat[begin[:, None] + np.arange(width)]
