"""The position prior: the per-pixel mean of the training labels, a baseline without images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ttt_bench.adapt.evaluate import Predictor
from ttt_bench.data.base import Dataset
from ttt_bench.data.batching import split_batches
from ttt_bench.data.images.files import spread
from ttt_bench.metrics.measure.base import measurement_of
from ttt_bench.util.progress import Progress

PRIOR_IMAGES = 5_000
"""Number of images that the mean is taken over; all data sets but Taskonomy have fewer."""


def position_prior(
    dataset: Dataset, channels: Mapping[str, int], batch: int, progress: Progress
) -> dict[str, Tensor]:
    """Return the mean of the training labels at every pixel, task -> (K, H, W).

    For semantic segmentation this is the share of each class among the labelled images. Of a data
    set with more than `PRIOR_IMAGES` images, `PRIOR_IMAGES` evenly spread ones are used.

    Args:
        dataset: the training images.
        channels: task -> output channels K.
        batch: number of images that are read together.
        progress: shows one bar.
    """
    sums = {task: torch.zeros(k, *dataset.size) for task, k in channels.items()}
    counts = {task: torch.zeros(1, *dataset.size) for task in channels}
    images = spread(len(dataset), PRIOR_IMAGES)
    with progress.bar(f"averaging the labels of {dataset.domain}", len(images)) as bar:
        for numbers in split_batches(len(images), batch):
            targets = dataset.batch([images[number] for number in numbers]).targets
            for task in [task for task in channels if task in targets]:
                values, valid = measurement_of(task).labelled(targets[task], channels[task])
                # sums over the batch: (B, K, H, W) -> (K, H, W) and (B, 1, H, W) -> (1, H, W)
                sums[task] += torch.where(valid, values, 0.0).sum(0)
                counts[task] += valid.sum(0)
            bar.advance(len(numbers))
    return {task: total / counts[task].clamp(min=1) for task, total in sums.items()}


def prior_predictor(prior: Mapping[str, Tensor], device: torch.device) -> Predictor:
    """Return a predictor that gives the position prior for every image."""
    maps = {task: values.to(device) for task, values in prior.items()}
    # (K, H, W) -> (B, K, H, W)
    return lambda images: {
        task: values.expand(len(images), *values.shape) for task, values in maps.items()
    }
