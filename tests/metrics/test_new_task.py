"""A new task needs one module of metrics, one of measurement, its line in `tasks`, and losses.

These are the pieces that the table of CONTRIBUTING.md names, next to reading its labels.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from support.fakes import random_images, tiny_session
from torch import Tensor

from ttt_bench.adapt.record import Record
from ttt_bench.adapter import Optimiser
from ttt_bench.data.domains import Domain
from ttt_bench.data.images.file_dataset import array_problems, value_problems
from ttt_bench.data.images.sample import IMAGE
from ttt_bench.data.pair import Pair
from ttt_bench.data.registry import DATASETS
from ttt_bench.losses import RECIPES, l1_loss
from ttt_bench.metrics import colours
from ttt_bench.metrics.aligned import AlignedMetrics, rmse_of
from ttt_bench.metrics.base import Array, Scores, Scoring, all_metrics, metrics_of
from ttt_bench.metrics.measure.base import Measurement, measurement_of
from ttt_bench.metrics.measure.sums import moments
from ttt_bench.network import Batch
from ttt_bench.registry import METHODS
from ttt_bench.report.figures.pictures import ExampleSet
from ttt_bench.results.schema import ROW_COLUMNS
from ttt_bench.stats import summary
from ttt_bench.tasks import IGNORE, TASKS, Task, output_channels

IDENTITY = dict.fromkeys(ROW_COLUMNS, 0)
SCORING = Scoring(edge_sigmoid=True, depth_nonnegative=True)


class Shading(AlignedMetrics):
    name = "shading"
    metrics = (rmse_of("shading"),)

    def other_scores(self, groups: Sequence[Array], set_sums: Array | None) -> Scores:
        return {}

    def scoring_words(self, scoring: Scoring, unit: str) -> str:
        return "raw output"

    def coloured(self, values: Array, low: float, high: float) -> colours.Picture:
        return colours.grey(values, low, high)


class ShadingMeasurement(Measurement):
    def image_sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        return moments(prediction, target, target != IGNORE)


@pytest.fixture
def shading(monkeypatch: pytest.MonkeyPatch) -> str:
    """Add the two modules, the line in `tasks`, and a loss and a weight to each recipe."""
    metrics = ModuleType("ttt_bench.metrics.shading")
    metrics.TASK_METRICS = Shading()  # type: ignore[attr-defined]
    measure = ModuleType("ttt_bench.metrics.measure.shading")
    measure.MEASUREMENT = ShadingMeasurement()  # type: ignore[attr-defined]
    for module in (metrics, measure):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(TASKS, "shading", Task("shading", 1))
    for recipe in RECIPES.values():
        monkeypatch.setitem(recipe.losses, "shading", l1_loss)  # type: ignore[arg-type]
        monkeypatch.setitem(recipe.weights, "shading", 1.0)  # type: ignore[arg-type]
    return "shading"


def measured(task: str) -> Record:
    """Record two images of random predictions at two steps."""
    generator = torch.Generator().manual_seed(0)
    target = measurement_of(task).random_target((2, 8, 9), 1, generator)
    record = Record(batches=[[0, 1]], steps=1)
    for step in range(2):
        outputs = {task: torch.rand(2, 1, 8, 9, generator=generator)}
        predictions = SCORING.apply(outputs)
        found = measurement_of(task).measure(predictions[task], target, SCORING)
        record.put([0, 1], slice(step, step + 1), {task: found.image_sums[None]})
    record.add_examples([0, 1], Batch(torch.rand(2, 3, 8, 9), {task: target}))
    record.add_example_predictions([0, 1], 1, predictions)
    return record


def test_a_new_task_is_scored_stored_and_displayed(shading: str) -> None:
    assert output_channels([shading], classes=7) == {"shading": 1}
    assert [metric.task for metric in all_metrics()][-1] == "shading"
    record = measured(shading)
    rows = record.rows(IDENTITY, classes=())
    assert rows[["step", "task", "metric"]].to_numpy().tolist() == [
        [0, "shading", "rmse"],
        [1, "shading", "rmse"],
    ]
    assert np.isfinite(rows["value"].astype(float)).all()
    assert record.statistics_table()["task"].unique().tolist() == ["shading"]
    picture = ExampleSet({"base": record.examples}).last_step()
    assert picture.shape[2] == 3
    words = SCORING.words([shading], batch=2, units={})
    assert words["alignment"].startswith("shading: one scale and shift")


def test_a_new_task_enters_delta_ttt_and_the_best_constant(shading: str) -> None:
    record = measured(shading)
    rows = record.rows(IDENTITY, classes=())
    labelled = [rows.assign(label=label) for label in ("base", "mine")]
    scores = summary.score_frame(labelled[0])
    assert list(scores.columns) == ["shading"]
    both = summary.score_frame(pd.concat(labelled))
    assert summary.delta_frame(both, "base")["delta_ttt"].loc["mine"].iloc[0] == 0
    table = record.statistics_table()
    constants = summary.constant_predictor(table[table["step"] == 0])
    assert constants["shading"] >= scores["shading"].iloc[0]
    assert metrics_of(shading).lower_is_better


def test_a_new_task_is_read_trained_and_adapted(shading: str) -> None:
    sample = {IMAGE: np.zeros((3, 4, 5), np.uint8), shading: np.ones((1, 4, 5), np.float32)}
    assert not [*array_problems(sample, (shading,)), *value_problems(sample)]
    domain = Domain(name="x", description="", tasks=("semseg", shading), folder="x", opener="x:y")
    assert not DATASETS.problems(domain, "x")
    pair = Pair(domain, domain)
    assert pair.tasks() == ("semseg",)
    assert pair.tasks((shading, "semseg")) == ("semseg", shading)
    channels = output_channels(pair.tasks((shading, "semseg")), classes=3)
    options = {"R": 32, "patch": 8, "latent": 4, "embed": 8, "heads": 2, "depth": (1, 1)}
    method = METHODS.load("s4t")
    session = tiny_session(method(method.Options(**options)), Optimiser(lr=0.1), channels)
    assert all(loss.isfinite() for loss in session.adapt(random_images()).values())
