"""Synchronisation of the tasks over adaptation steps, for every label and seed.

The measures are functions of arrays, so that they are computed again in every bootstrap replicate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ttt_bench import sync
from ttt_bench.metrics.base import metrics_of
from ttt_bench.stats.summary import UNMOVED
from ttt_bench.stats.trajectories import Array, Trajectories

RAW = ("step_variance", "dtw", "cosine_similarity", "cosine_similarity_per_step")
"""Equations 1 to 4 of S4T's supplement over steps 1..N, DTW on changes against Base in percent."""

SCALE_FREE = ("peak_spread", "curve_distance", "direction_agreement")
"""The same without level and scale, over steps 0..N; see `ttt_bench.sync`."""

MEASURES = (*RAW, *SCALE_FREE)

RANGES = {
    "step_variance": (0.0, np.inf),
    "dtw": (0.0, np.inf),
    "cosine_similarity": (-np.inf, np.inf),
    "cosine_similarity_per_step": (-1.0, 1.0),
    "peak_spread": (0.0, 0.5),
    "curve_distance": (0.0, 1.0),
    "direction_agreement": (-1.0, 1.0),
}
"""The smallest and the largest value of each measure."""

LOWER_IS_IN_STEP = ("step_variance", "dtw", "peak_spread", "curve_distance")
"""The measures that are 0 for tasks in step; the others are largest."""

FEWEST_STEPS = 2
"""Fewest steps of a cell whose measures are defined: one step is not a curve."""

Flags = NDArray[np.bool_]


def peak(task: str) -> str:
    """Return the column of the step, counted from 1, with a task's best score."""
    return f"peak_{task}"


def measures(found: Trajectories, flat: Flags) -> Array:
    """Return the measures of every cell, (..., C, M), in the order of `MEASURES`.

    A measure is NaN for a cell of fewer than `FEWEST_STEPS` steps or with fewer than two tasks. A
    raw measure is NaN if no task changes, and raw DTW also without a score of Base. A scale-free
    measure is NaN if fewer than two tasks are left.

    Args:
        flat: the tasks that the scale-free measures leave out, (C, n): those of `flat_tasks` for
            the observed scores, for replicates too, so that all measure the same tasks.
    """
    values = np.full((*found.scores.shape[:-2], len(MEASURES)), np.nan)
    if len(found.tasks) < 2:
        return values
    for last in np.unique(found.last[found.last >= FEWEST_STEPS]):
        cells = found.last == last
        # (..., C, T + 1, n) -> (..., cells, n, N + 1)
        curves = np.swapaxes(found.scores[..., cells, : last + 1, :], -1, -2)
        parts = _raw(curves[..., 1:], found.base[..., cells, :], _lower(found))
        parts += _scale_free(curves, flat[cells], _lower(found))
        values[..., cells, :] = np.stack(parts, axis=-1)
    return values


def flat_tasks(found: Trajectories) -> Flags:
    """Return which tasks of each cell are too flat for the scale-free measures, (C, n).

    Args:
        found: observed trajectories.
    """
    flags = np.zeros(found.base.shape, dtype=bool)
    for cell, last in enumerate(found.last):
        flags[cell] = sync.flat_curves(found.scores[cell, : last + 1].T)
    return flags


def sync_frame(found: Trajectories) -> pd.DataFrame:
    """Return the measures of every label and seed, with what they depend on.

    Args:
        found: observed trajectories.

    Returns:
        Columns `label, seed, steps`, `MEASURES`, `peak_<task>` (see `peak`; NaN if no task changes
        over steps 1..N), and tuples of tasks: `early` (better at step 0 than at any later step),
        `constant` (without a change over steps 1..N) and `flat` (left out of the scale-free
        measures).
    """
    flat = flat_tasks(found)
    frame = found.cells.to_frame(index=False).assign(steps=found.last)
    frame[list(MEASURES)] = measures(found, flat)
    own = pd.DataFrame([_own(found, cell, flat[cell]) for cell in range(len(frame))])
    return pd.concat([frame, own], axis=1)


def curve_frame(found: Trajectories) -> pd.DataFrame:
    """Return the unit curves of every label: means over seeds of `sync.unit_curves`.

    Args:
        found: observed trajectories.

    Returns:
        Columns `label, task, step, score`, steps 0..N. Tasks that are flat in every
        seed are missing.
    """
    frames = [_unit_frame(found, cell) for cell in range(len(found.last))]
    if not frames:
        return pd.DataFrame(columns=["label", "task", "step", "score"])
    frame = pd.concat(frames, ignore_index=True).dropna()
    means = frame.groupby(["label", "task", "step"], sort=False)["score"].mean()
    return means.reset_index()


def _unit_frame(found: Trajectories, cell: int) -> pd.DataFrame:
    steps = int(found.last[cell]) + 1
    # (N + 1, n) -> (n, N + 1)
    units = sync.unit_curves(found.scores[cell, :steps].T, _lower(found))
    return pd.DataFrame(
        {
            "label": found.cells[cell][0],
            "task": np.repeat(found.tasks, steps),
            "step": np.tile(np.arange(steps), len(found.tasks)),
            "score": units.ravel(),
        }
    )


def _raw(after: Array, base: Array, lower: list[bool]) -> list[Array]:
    """Return the measures `RAW` of trajectories (..., n, N), (...) each; `base` is (..., n)."""
    present = ~np.isnan(after).any(axis=-1)
    constant = sync.flat_curves(after, UNMOVED) | ~present
    measured = (present.sum(axis=-1) > 1) & ~constant.all(axis=-1)
    # without Base, or with a score of 0, there is no relative change
    usable = (np.isfinite(base) & (base != 0)) | ~present
    relative = sync.normalize(after, "relative", np.where(usable, base, 1.0))
    oriented = sync.orient(after, lower)
    found = [
        sync.step_variance(after, lower),
        np.where(usable.all(axis=-1), sync.mean_dtw(sync.orient(relative, lower)), np.nan),
        sync.cosine_similarity(oriented),
        sync.cosine_similarity(oriented, "mean"),
    ]
    return [np.where(measured, values, np.nan) for values in found]


def _scale_free(curves: Array, flat: Flags, lower: list[bool]) -> list[Array]:
    """Return the measures `SCALE_FREE` of curves (..., n, N + 1), (...) each."""
    units = sync.unit_curves(curves, lower, flat)
    return [sync.peak_spread(units), sync.curve_distance(units), sync.direction_agreement(units)]


def _own(found: Trajectories, cell: int, flat: Flags) -> dict[str, Any]:
    """Return the peaks and the tasks with a property of one cell, as columns of `sync_frame`."""
    curves = found.scores[cell, : found.last[cell] + 1].T
    before, after, lower = curves[:, 0], curves[:, 1:], _lower(found)
    present: Flags = np.asarray(~np.isnan(curves).any(axis=-1))
    constant = present.copy()
    early = np.zeros_like(present)
    if after.shape[-1]:
        constant &= sync.flat_curves(after, UNMOVED)
        early = _early(before, after, lower)
    peaks = np.full(len(found.tasks), np.nan)
    if (present & ~constant).any():
        peaks = np.where(present, sync.peak_steps(after, lower), np.nan)
    flags = {"early": early, "constant": constant, "flat": flat}
    columns = dict(zip(map(peak, found.tasks), peaks.tolist(), strict=True))
    return columns | {name: _chosen(found.tasks, flag) for name, flag in flags.items()}


def _early(before: Array, after: Array, lower: list[bool]) -> Flags:
    """Return which tasks score better at step 0, (n,), than at every step of (n, N): (n,).

    Differences up to rounding error do not count.
    """
    sign = np.where(lower, -1.0, 1.0)
    # the best of N steps: (n, N) -> (n,)
    gap = sign * before - sync.orient(after, lower).max(axis=1)
    return np.asarray(gap > UNMOVED * np.abs(before))


def _chosen(tasks: tuple[str, ...], flags: Flags) -> tuple[str, ...]:
    return tuple(task for task, flag in zip(tasks, flags, strict=True) if flag)


def _lower(found: Trajectories) -> list[bool]:
    return [metrics_of(task).lower_is_better for task in found.tasks]
