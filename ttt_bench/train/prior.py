"""The position prior, the per-pixel mean of the training labels, which a model has to beat."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ttt_bench.adapt.evaluate import Predictor
from ttt_bench.data.base import Dataset
from ttt_bench.data.batching import split_batches
from ttt_bench.data.images.files import spread
from ttt_bench.tasks import IGNORE
from ttt_bench.util.progress import Progress

PRIOR_IMAGES = 5_000
"""Enough for a mean; all but Taskonomy have fewer."""


def position_prior(
    dataset: Dataset, channels: dict[str, int], batch: int, progress: Progress
) -> dict[str, Tensor]:
    """The mean of the training labels at every pixel, task -> (K, H, W): what can be said without
    looking.

    Semantic segmentation: the share of each class among the labelled images. Of more than
    `PRIOR_IMAGES` images so many are looked at, evenly spread.

    Args:
        batch: images that are read together.
    """
    sums = {task: torch.zeros(k, *dataset.size) for task, k in channels.items()}
    counts = {task: torch.zeros(1, *dataset.size) for task in channels}
    images = spread(len(dataset), PRIOR_IMAGES)
    with progress.bar(f"averaging the labels of {dataset.domain}", len(images)) as bar:
        for numbers in split_batches(len(images), batch):
            for task, target in dataset.batch(
                [images[number] for number in numbers]
            ).targets.items():
                if task in channels:
                    values, valid = _labelled(task, target, channels[task])
                    sums[task] += torch.where(valid, values, 0.0).sum(0)
                    counts[task] += valid.sum(0)
            bar.advance(len(numbers))
    return {task: total / counts[task].clamp(min=1) for task, total in sums.items()}


def _labelled(task: str, target: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """What is averaged of a target, (B, K, H, W), and where there is any, (B, 1, H, W)."""
    if task == "semseg":
        values = F.one_hot(target.clamp(max=channels - 1), channels).permute(0, 3, 1, 2).float()
        return values, (target != IGNORE)[:, None]
    return target, (target != IGNORE).all(dim=1, keepdim=True)


def prior_predictor(prior: dict[str, Tensor], device: torch.device) -> Predictor:
    """The position prior as a predictor."""
    maps = {task: values.to(device) for task, values in prior.items()}
    return lambda images: {
        task: values.expand(len(images), *values.shape) for task, values in maps.items()
    }
