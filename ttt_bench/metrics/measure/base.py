"""The measurement of predictions on tensors, as sums that `ttt_bench.metrics` makes scores of.

Each task of `ttt_bench.tasks` has one module here, named as the task, whose `MEASUREMENT` is its
`Measurement`. Nothing here moves data to the host or makes a shape depend on values, so that
scoring can be captured as a CUDA graph.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.metrics.base import Scoring
from ttt_bench.metrics.measure.sums import relative_rms
from ttt_bench.tasks import IGNORE


class Measured(NamedTuple):
    """The sums that are kept of a batch's predictions of one task.

    Attributes:
        image_sums: (B, S) float64, one row per image.
        set_sums: (T,) float64, what the batch adds to the sums of the set; None if the task has
            none on this target.
    """

    image_sums: Tensor
    set_sums: Tensor | None


class Measurement(ABC):
    """The measurement of one task; the layouts of the sums are in its `TaskMetrics`."""

    @abstractmethod
    def image_sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the sums of each image, (B, S) float64.

        Args:
            prediction: (B, K, H, W), after the scoring transform.
            target: (B, H, W) int64 class indices, or (B, K, H, W); 255 where a pixel has none.
        """

    def measure(self, prediction: Tensor, target: Tensor, scoring: Scoring) -> Measured:
        """Return the sums of each image and of the batch; arguments as for `image_sums`."""
        return Measured(self.image_sums(prediction, target), None)

    def compared(self, prediction: Tensor) -> Tensor:
        """Return what `difference` compares of a scored prediction (B, K, H, W), in that shape."""
        return prediction

    def difference(self, one: Tensor, other: Tensor) -> Tensor:
        """Return how much two predictions of the same images differ, (B,) float64, symmetric.

        It has no unit: 0 if they are equal, about 1 if they are unrelated. The default, for real
        values, is `relative_rms`, in [0, sqrt 2].

        Args:
            one: what `compared` returned.
            other: the same for the other prediction.
        """
        return relative_rms(one, other)

    def mirrored(self, prediction: Tensor) -> Tensor:
        """Return the prediction (B, K, H, W) that corresponds to it for the mirrored image."""
        return prediction.flip(-1)

    def labelled(self, target: Tensor, channels: int) -> tuple[Tensor, Tensor]:
        """Return a target as it is averaged, (B, K, H, W), and where it exists, (B, 1, H, W).

        Args:
            target: as for `image_sums`.
            channels: K, the task's output channels.
        """
        return target, (target != IGNORE).all(dim=1, keepdim=True)

    def shown_truth(self, target: Tensor) -> NDArray[Any]:
        """Return targets as they are stored for display; by default (B, H, W) float16."""
        # (B, 1, H, W) -> (B, H, W)
        found: NDArray[Any] = target[:, 0].half().cpu().numpy()
        return found

    def shown_prediction(self, prediction: Tensor) -> NDArray[Any]:
        """Return scored predictions (B, K, H, W) as they are stored for display."""
        return self.shown_truth(prediction)

    def random_target(
        self, shape: tuple[int, int, int], channels: int, generator: torch.Generator
    ) -> Tensor:
        """Draw targets in the task's encoding, without a missing pixel.

        Args:
            shape: (B, H, W).
            channels: K, the task's output channels.
            generator: the source of randomness.
        """
        images, height, width = shape
        return torch.rand(images, channels, height, width, generator=generator)


def measurement_of(task: str) -> Measurement:
    """Return the measurement of a task of `ttt_bench.tasks`."""
    found: Measurement = import_module(f"ttt_bench.metrics.measure.{task}").MEASUREMENT
    return found
