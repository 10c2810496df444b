"""The scoring of a model on a data set without adapting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ttt_bench.data.base import Dataset
from ttt_bench.metrics.base import Array, Scoring, metrics_of
from ttt_bench.metrics.measure.base import measurement_of

Predictor = Callable[[Tensor], dict[str, Tensor]]
"""Images (B, 3, H, W) -> task -> (B, K, H, W)."""


def evaluate(
    predict: Predictor,
    dataset: Dataset,
    *,
    batches: Sequence[Sequence[int]],
    tasks: Sequence[str],
    scoring: Scoring,
    device: torch.device,
) -> dict[str, float]:
    """Return task -> score of a predictor on these batches of a data set, units as in the rows.

    Args:
        predict: returns raw outputs.
        dataset: the images and targets.
        batches: image indices of each evaluation batch.
        tasks: the tasks to score.
        scoring: how outputs are scored on the data set.
        device: where images are predicted and scored.
    """
    found: dict[str, list[Array]] = {task: [] for task in tasks}
    with torch.no_grad():
        for indices in batches:
            batch = dataset.batch(indices).to(device)
            predictions = scoring.apply(predict(batch.images))
            for task in tasks:
                sums = measurement_of(task).image_sums(predictions[task], batch.targets[task])
                found[task].append(sums.cpu().numpy())
    return {task: metrics_of(task).score(groups) for task, groups in found.items()}
