"""The synchronisation measures of stored scores, against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ttt_bench import sync
from ttt_bench.stats.synchronisation import (
    MEASURES,
    RAW,
    SCALE_FREE,
    flat_tasks,
    measures,
    sync_frame,
)
from ttt_bench.stats.trajectories import Trajectories, trajectories


def made(cells: dict[str, dict[str, list[float]]], base: str | None = "base") -> Trajectories:
    """Return the trajectories of labels with these scores of each task at steps 0, 1, ..."""
    frames = {
        (label, 0): pd.DataFrame(scores).rename_axis(index="step")
        for label, scores in cells.items()
    }
    return trajectories(pd.concat(frames, names=["label", "seed"]), base)


BASE = {"semseg": [20.0] * 4, "depth": [1.0] * 4}
# semseg over steps 1..3: +10, +20, +15 percent; depth, lower is better: +10, +10, +30 percent
MOVING = {"semseg": [20.0, 22, 24, 23], "depth": [0.5, 0.9, 0.9, 0.7]}


def test_by_hand() -> None:
    row = sync_frame(made({"base": BASE, "tent": MOVING})).set_index("label").loc["tent"]
    assert (row["peak_semseg"], row["peak_depth"]) == (2, 3)
    assert row["step_variance"] == 0.5
    # the cheapest path pairs 10-10, 10-10 or 20-10, and 15-30: 0 + 10 + 15, or 0 + 0 + 10 + 15
    assert row["dtw"] == pytest.approx(25.0)
    # increments +, - and 0, +
    assert row["cosine_similarity"] == -1.0
    assert row["cosine_similarity_per_step"] == -0.5
    # depth was best before adapting
    assert row["early"] == ("depth",)
    assert row["constant"] == row["flat"] == ()
    # unit curves 0, 1/2, 1, 3/4 and 1, 0, 0, 1/2: near their best at 1.8 and at 0, of 3 steps
    assert row["peak_spread"] == pytest.approx(0.9 / 3)
    # common motion 1/2 and 1/4, both in opposite directions
    assert row["direction_agreement"] == -1.0


def test_flat_tasks_are_left_out_of_scale_free_measures_only() -> None:
    flat = {"semseg": MOVING["semseg"], "depth": [0.5, 0.4999, 0.4998, 0.4999]}
    row = sync_frame(made({"base": BASE, "tent": flat})).set_index("label").loc["tent"]
    assert row["flat"] == ("depth",)
    assert row[list(SCALE_FREE)].isna().all()
    assert row[list(RAW)].notna().all()


def test_measures_without_base_a_task_or_motion() -> None:
    still = {"semseg": [20.0, 22, 22, 22], "depth": [0.5, 0.9, 0.9, 0.9]}
    alone = {"semseg": MOVING["semseg"], "depth": [np.nan] * 4}
    cells = {"tent": MOVING, "norm": still, "s4t": alone}
    frame = sync_frame(made(cells, base=None)).set_index("label")
    assert np.isnan(frame.loc["tent", "dtw"])
    assert frame.loc["tent", list(SCALE_FREE)].notna().all()
    assert frame.loc["norm", list(RAW)].isna().all()
    assert frame.loc["s4t", list(MEASURES)].isna().all()
    assert frame.loc["s4t", "peak_semseg"] == 2.0
    assert np.isnan(frame.loc["s4t", "peak_depth"])


def test_cells_of_different_lengths_and_replicates_are_measured_each_for_itself() -> None:
    rng = np.random.default_rng(0)
    lengths = {"base": 1, "tent": 5, "ttt": 9, "tipi": 9, "clust3": 2}
    cells = {
        label: {
            "semseg": list(20 + np.cumsum(rng.normal(size=length))),
            "depth": list(1 + 0.1 * np.cumsum(rng.normal(size=length))),
        }
        for label, length in lengths.items()
    }
    found = made(cells)
    changed = found.scores + 0.1 * rng.normal(size=(3, *found.scores.shape))
    again = replace(found, scores=changed, base=np.broadcast_to(found.base, (3, *found.base.shape)))
    values = measures(again, flat_tasks(found))
    assert values.shape == (3, len(lengths), len(MEASURES))
    for draw in range(3):
        for cell, last in enumerate(found.last):
            if last < 2:  # no curve
                assert np.isnan(values[draw, cell]).all()
                continue
            curves = changed[draw, cell, : last + 1].T
            units = sync.unit_curves(curves, [False, True], [False, False])
            assert values[draw, cell, MEASURES.index("peak_spread")] == sync.peak_spread(units)
            oriented = sync.orient(curves[:, 1:], [False, True])
            expected = sync.cosine_similarity(oriented)
            assert values[draw, cell, MEASURES.index("cosine_similarity")] == expected
