"""The generated results folders have the effects that they are made with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.generated import generate
from support.made_effects import Effects

import ttt_bench
from ttt_bench.results import store


def test_scores_differ_by_the_effects_that_were_asked_for(tmp_path: Path) -> None:
    still = {"change_of_image": 0.0, "change_of_batch": 0.0, "change_of_seed": 0.0}
    effects = Effects(normalisation=0.1, updates={"tent": 0.2}, **still)
    methods = ("base", "norm", "tent")
    generate(tmp_path, methods=methods, seeds=2, steps=2, images=4, batch=2, effects=effects)
    rows = ttt_bench.read_results(tmp_path)
    scores = rows[rows["metric"] == "merr"].set_index(["method", "control", "seed", "step"])
    found = scores["value"].unstack(["seed", "step"])
    relative = np.log(found / found.loc["base", "none"])
    expected = {
        ("base", "none"): [0, 0, 0],
        ("norm", "none"): [-0.1, -0.1, -0.1],
        ("tent", "none"): [-0.1, -0.2, -0.3],
        ("tent", "frozen"): [-0.1, -0.1, -0.1],
    }
    for label, changes in expected.items():
        assert relative.loc[label].tolist() == pytest.approx(changes * 2, abs=1e-12), label


def test_all_cells_of_a_pair_have_the_same_targets(tmp_path: Path) -> None:
    generate(tmp_path, methods=("base", "tent"), seeds=2, steps=1, images=3, batch=2, classes=4)
    truths = []
    for folder, _ in store.cells(tmp_path):
        table = store.read_table(folder, "statistics")
        own = table[table["task"] == "semseg"].sort_values(["step", "image"])
        counts = np.stack(list(own["values"]))
        # 2 steps, 3 images, 4 classes: confusion -> pixels of each true class
        truths.append(counts.reshape(2, 3, 4, 4).sum(axis=-1))
        assert (counts >= 0).all()
    assert len(truths) == 6
    assert all((truth == truths[0][0]).all() for truth in truths)
