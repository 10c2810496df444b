"""The scoring of a model on a data set without adapting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ttt_bench.adapt.record import Record
from ttt_bench.data.base import Dataset
from ttt_bench.metrics.base import Scoring
from ttt_bench.metrics.measure.base import measurement_of

Predictor = Callable[[Tensor], dict[str, Tensor]]
"""Images (B, 3, H, W) -> task -> (B, K, H, W)."""


def evaluate(
    predict: Predictor,
    dataset: Dataset,
    *,
    batches: list[list[int]],
    tasks: Sequence[str],
    scoring: Scoring,
    device: torch.device,
) -> Record:
    """Return the record of a predictor on these batches of a data set, step 0 only.

    Args:
        predict: returns raw outputs.
        dataset: the images and targets.
        batches: image indices of each evaluation batch; together they are all images.
        tasks: the tasks to score.
        scoring: how outputs are scored on the data set.
        device: where images are predicted and scored.
    """
    record = Record(batches=batches, steps=0)
    with torch.no_grad():
        for indices in batches:
            batch = dataset.batch(indices).to(device)
            predictions = scoring.apply(predict(batch.images))
            sums = {
                # (B, S) -> (1, B, S), one step
                task: measurement_of(task).image_sums(predictions[task], batch.targets[task])[None]
                for task in tasks
            }
            record.put(indices, slice(0, 1), sums)
    return record
