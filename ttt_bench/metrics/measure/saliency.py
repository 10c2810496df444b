"""The measurement of saliency: counts of each image at a few thresholds."""

from __future__ import annotations

import torch
from torch import Tensor

from ttt_bench.metrics.measure.base import Measurement
from ttt_bench.metrics.measure.sums import image_histograms
from ttt_bench.metrics.saliency import LEVELS
from ttt_bench.tasks import IGNORE


def saliency_counts(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the counts that `ttt_bench.metrics.saliency.counts_of` reads, (B, 40) float64.

    Args:
        prediction: (B, 1, H, W) in [0, 1].
        target: the same shape, 0, 1, or 255 where a pixel has none.
    """
    p, t = prediction[:, 0], target[:, 0]
    level = (p * LEVELS).long().clamp(0, LEVELS - 1)
    bins = torch.where(t == IGNORE, 2 * LEVELS, level + LEVELS * (t == 1))
    # (B, 2 * 20) -> (B, 2, 20): the pixels of each level that are not salient, and those that are
    apart = image_histograms(bins, 2 * LEVELS).unflatten(1, (2, LEVELS))
    # at place k: the pixels that reach level k
    reached = apart.flip(2).cumsum(2).flip(2)
    both, salient = reached.sum(1), reached[:, 1]
    return torch.cat([both[:, :1], salient[:, :1], both[:, 1:], salient[:, 1:]], dim=1)


class SaliencyMeasurement(Measurement):
    """The measurement of saliency."""

    def image_sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        return saliency_counts(prediction, target)

    def random_target(
        self, shape: tuple[int, int, int], channels: int, generator: torch.Generator
    ) -> Tensor:
        return (super().random_target(shape, channels, generator) < 0.3).float()


MEASUREMENT = SaliencyMeasurement()
