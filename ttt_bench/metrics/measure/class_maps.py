"""The base of measurements of a class per pixel: confusion counts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.metrics.measure.base import Measurement
from ttt_bench.metrics.measure.sums import image_histograms
from ttt_bench.tasks import IGNORE


def confusion(
    classes: Tensor, target: Tensor, num_classes: int, ignore_index: int = IGNORE
) -> Tensor:
    """Return the counts of each image, truth by row and prediction by column, (B, K, K) float64.

    Args:
        classes: (B, H, W) of any integer dtype, the predicted classes, in 0..K-1.
        target: the same shape, any integer dtype, in 0..K-1 or `ignore_index` where a pixel has
            none.
        num_classes: K.
        ignore_index: the value of pixels that are not counted.
    """
    # an index K * K does not fit into a byte; without effect on int64
    classes, target = classes.long(), target.long()
    ignored = num_classes * num_classes
    pairs = torch.where(target == ignore_index, ignored, target * num_classes + classes)
    # (B, K * K) -> (B, K, K)
    found: Tensor = image_histograms(pairs, ignored).unflatten(1, (num_classes, num_classes))
    return found


class ClassMeasurement(Measurement):
    """The measurement of a task with a class per pixel."""

    def image_sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        # (B, K, H, W) -> (B, H, W); several times faster than argmax on a CPU
        classes = prediction.max(dim=1).indices
        # (B, K, K) -> (B, K * K)
        return confusion(classes, target, prediction.shape[1]).flatten(1)

    def compared(self, prediction: Tensor) -> Tensor:
        """Return the probabilities of the classes."""
        return prediction.softmax(dim=1)

    def difference(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the total variation between class probabilities, mean over pixels, in [0, 1]."""
        pixels = one[0, 0].numel()
        # (B, K, H, W) -> (B,)
        return (one - other).abs_().flatten(1).sum(1).double() / (2 * pixels)

    def labelled(self, target: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        # (B, H, W) -> (B, H, W, K) -> (B, K, H, W)
        values = F.one_hot(target.clamp(max=channels - 1), channels).permute(0, 3, 1, 2).float()
        return values, (target != IGNORE)[:, None]

    def shown_truth(self, target: Tensor) -> NDArray[Any]:
        """Return class indices (B, H, W) uint8."""
        found: NDArray[Any] = target.to(torch.uint8).cpu().numpy()
        return found

    def shown_prediction(self, prediction: Tensor) -> NDArray[Any]:
        # (B, K, H, W) -> (B, H, W)
        return self.shown_truth(prediction.argmax(1))

    def random_target(
        self, shape: tuple[int, int, int], channels: int, generator: torch.Generator
    ) -> Tensor:
        return torch.randint(0, channels, shape, generator=generator)
