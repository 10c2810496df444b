"""Made trajectories of one task, depth, whose Delta_TTT is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ttt_bench.stats.trajectories import Trajectories

Numbers = Sequence[float] | Sequence[Sequence[float]]


def made(deltas: Numbers, signals: Mapping[str, Numbers] | None = None) -> Trajectories:
    """Return trajectories with these changes at steps 0..T, one cell per row of them, or one cell.

    A row ends with NaN after the last step of its cell. Base's depth error is 1.
    """
    values = np.atleast_2d(np.asarray(deltas, dtype=float))
    names = [("tent", seed) for seed in range(len(values))]
    return Trajectories(
        cells=pd.MultiIndex.from_tuples(names, names=["label", "seed"]),
        tasks=("depth",),
        last=np.isfinite(values).sum(axis=1) - 1,
        scores=(1 - values / 100)[..., None],
        base=np.ones((len(values), 1)),
        deltas=values,
        signals={name: np.atleast_2d(row).astype(float) for name, row in (signals or {}).items()},
    )
