"""A fifth task needs one module of metrics, one of measurement, and its line in `tasks`.

Training on it needs a loss and a weight in addition, in each recipe of `ttt_bench.losses`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from ttt_bench.adapt.record import Record
from ttt_bench.metrics import colours
from ttt_bench.metrics.aligned import AlignedMetrics, rmse_of
from ttt_bench.metrics.base import Array, Scores, Scoring, all_metrics, metrics_of
from ttt_bench.metrics.measure.base import Measurement, measurement_of
from ttt_bench.metrics.measure.sums import moments
from ttt_bench.report.figures.pictures import compose
from ttt_bench.results.schema import ROW_COLUMNS
from ttt_bench.stats import summary
from ttt_bench.tasks import IGNORE, TASKS, Task, output_channels

IDENTITY = dict.fromkeys(ROW_COLUMNS, 0)
SCORING = Scoring(edge_sigmoid=True, depth_nonnegative=True)


class Saliency(AlignedMetrics):
    name = "saliency"
    metrics = (rmse_of("saliency"),)

    def other_scores(self, groups: Sequence[Array], set_sums: Array | None) -> Scores:
        return {}

    def scoring_words(self, scoring: Scoring, unit: str) -> str:
        return "raw output"

    def coloured(self, values: Array, low: float, high: float) -> colours.Picture:
        return colours.grey(values, low, high)


class SaliencyMeasurement(Measurement):
    def image_sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        return moments(prediction, target, target != IGNORE)


@pytest.fixture
def saliency(monkeypatch: pytest.MonkeyPatch) -> str:
    """Add the two modules and the line in `tasks`."""
    metrics = ModuleType("ttt_bench.metrics.saliency")
    metrics.TASK_METRICS = Saliency()  # type: ignore[attr-defined]
    measure = ModuleType("ttt_bench.metrics.measure.saliency")
    measure.MEASUREMENT = SaliencyMeasurement()  # type: ignore[attr-defined]
    for module in (metrics, measure):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(TASKS, "saliency", Task("saliency", 1))
    return "saliency"


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
    record.add_examples([0, 1], torch.rand(2, 3, 8, 9), {task: target}, predictions)
    return record


def test_a_fifth_task_is_scored_stored_and_displayed(saliency: str) -> None:
    assert output_channels([saliency], classes=7) == {"saliency": 1}
    assert [metric.task for metric in all_metrics()][-1] == "saliency"
    record = measured(saliency)
    rows = record.rows(IDENTITY, classes=())
    assert rows[["step", "task", "metric"]].to_numpy().tolist() == [
        [0, "saliency", "rmse"],
        [1, "saliency", "rmse"],
    ]
    assert np.isfinite(rows["value"].astype(float)).all()
    assert record.statistics_table()["task"].unique().tolist() == ["saliency"]
    picture = compose({"base": record.examples})
    assert picture.shape[2] == 3
    words = SCORING.words([saliency], batch=2, units={})
    assert words["alignment"].startswith("saliency: one scale and shift")


def test_a_fifth_task_enters_delta_ttt_and_the_best_constant(saliency: str) -> None:
    record = measured(saliency)
    rows = record.rows(IDENTITY, classes=())
    labelled = [rows.assign(label=label) for label in ("base", "mine")]
    scores = summary.score_frame(labelled[0])
    assert list(scores.columns) == ["saliency"]
    both = summary.score_frame(pd.concat(labelled))
    assert summary.delta_frame(both, "base")["delta_ttt"].loc["mine"].iloc[0] == 0
    table = record.statistics_table()
    constants = summary.constant_predictor(table[table["step"] == 0])
    assert constants["saliency"] >= scores["saliency"].iloc[0]
    assert metrics_of(saliency).lower_is_better
