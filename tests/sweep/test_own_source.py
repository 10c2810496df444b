"""The stored statistics of a method's own source model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.runs import run

from ttt_bench.metrics.base import metrics_of
from ttt_bench.results import store


def test_the_own_source_model_is_stored_with_its_image_statistics(tmp_path: Path) -> None:
    run(tmp_path, methods="s4t", protocol="episodic")
    ((folder, manifest),) = store.cells(tmp_path)
    source = store.read_table(folder, "source")
    for task, group in source.groupby("task"):
        batches = [np.stack(list(values)) for _, values in group.groupby("batch")["values"]]
        score = metrics_of(str(task)).score(batches)
        assert score == pytest.approx(manifest["own_source_scores"][task], rel=1e-12)
    # s4t predicts with running statistics, so step 0 of an episode is the unadapted source model
    before = store.read_table(folder, "statistics", step=0)
    places = ["step", "batch", "image", "task"]
    pd.testing.assert_frame_equal(source[places], before[places])
    own, other = (np.concatenate(list(table["values"])) for table in (source, before))
    np.testing.assert_allclose(own, other, rtol=1e-4)
