"""Scoring of a model on a data set without adapting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ttt_bench.data.base import Dataset
from ttt_bench.metrics.scores import task_score
from ttt_bench.metrics.statistics import Scoring, statistics

Predictor = Callable[[Tensor], dict[str, Tensor]]
"""Images (B, 3, H, W) -> task -> (B, K, H, W)."""


def evaluate(
    predict: Predictor,
    dataset: Dataset,
    batches: Sequence[Sequence[int]],
    tasks: Sequence[str],
    scoring: Scoring,
    device: torch.device,
) -> dict[str, float]:
    """Task -> score of a predictor on these batches of a data set (units as in the rows)."""
    found: dict[str, list[Tensor]] = {task: [] for task in tasks}
    with torch.no_grad():
        for indices in batches:
            batch = dataset.batch(indices).to(device)
            predictions = scoring.apply(predict(batch.images))
            for task in tasks:
                found[task].append(statistics(task, predictions[task], batch.targets[task]).cpu())
    return {
        task: task_score(task, [values.numpy() for values in groups])
        for task, groups in found.items()
    }
