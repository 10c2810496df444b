"""The values of each step that need no labels, as runs store them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.errors import DamagedError
from ttt_bench.results.integrity import read_columns
from ttt_bench.results.records import is_file
from ttt_bench.stats.comparison import Comparison
from ttt_bench.stats.trajectories import Trajectories

Array = NDArray[np.float64]
CellSignals = Mapping[str, Array]
"""Signal -> its values for each batch at each step of a cell, (B, T + 1); NaN if not stored."""

LOSS = "loss"
"""The sum of the loss terms; the other signals are those of `schema.SIGNALS`."""


def signals_of(comparison: Comparison, observed: Trajectories) -> tuple[CellSignals, ...]:
    """Return the signals of a comparison's cells, in the order of its trajectories.

    A cell whose files are missing or damaged has none.
    """
    paths = comparison.folders
    folders = [Path(paths[cell]) for cell in observed.cells]
    return tuple(
        {**_losses(folder, observed.steps), **_signals(folder, observed.steps)}
        for folder in folders
    )


def mean_signals(
    cells: Sequence[CellSignals], steps: int, drawn: Array | None = None
) -> dict[str, Array]:
    """Return signal -> its mean over batches, (C, T + 1), or (R, C, T + 1) for replicates.

    Args:
        cells: the signals of C cells.
        steps: T + 1.
        drawn: how often each batch is drawn in each replicate, (R, U). A cell with another number
            of batches, such as one that adapts on its first batch only, has the same values in each
            replicate.
    """
    names = dict.fromkeys(name for cell in cells for name in cell)
    missing = np.full((1, steps), np.nan)
    found = {}
    for name in names:
        means = [_mean(cell.get(name, missing), drawn) for cell in cells]
        found[name] = np.stack(means, axis=-2)
    return found


def _mean(values: Array, drawn: Array | None) -> Array:
    """Return the mean of (B, T + 1) over batches, (T + 1,) or (R, T + 1)."""
    if drawn is None:
        return np.asarray(values.mean(axis=0))
    batches = len(values)
    if drawn.shape[1] != batches:
        return np.broadcast_to(values.mean(axis=0), (len(drawn), values.shape[1]))
    return drawn @ values / batches


def _losses(folder: Path, steps: int) -> CellSignals:
    """Return the sum of the loss terms; empty without losses."""
    found = _columns(folder / "losses.parquet", ("batch", "step", "value"))
    return {LOSS: _total(found, steps)} if found else {}


def _signals(folder: Path, steps: int) -> CellSignals:
    """Return the mean over tasks of each signal; empty without signals."""
    stored = _columns(folder / "signals.parquet", ("batch", "step", "value", "signal", "task"))
    if not stored:
        return {}
    tasks, names = len(np.unique(stored["task"].astype(str))), stored["signal"].astype(str)
    found = {}
    for name in np.unique(names):
        own = {key: values[names == name] for key, values in stored.items()}
        found[str(name)] = _total(own, steps) / tasks
    return found


def _columns(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return columns of a file; empty if it is missing, damaged or has no rows."""
    if not is_file(path):
        return {}
    try:
        table = read_columns(path, names)
    except DamagedError:
        return {}
    return {name: table[name].to_numpy() for name in names} if len(table) else {}


def _total(columns: Mapping[str, NDArray[Any]], steps: int) -> Array:
    """Return the sum of values of each batch and step, (B, T + 1); NaN without a value."""
    batches, number = np.unique(columns["batch"], return_inverse=True)
    place = number * steps + columns["step"]
    size = len(batches) * steps
    total: Array = np.bincount(place, weights=columns["value"], minlength=size).astype(np.float64)
    total[np.bincount(place, minlength=size) == 0] = np.nan
    return total.reshape(len(batches), steps)
