"""The measurement of surface normals: angles and their histogram."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.metrics.base import Scoring
from ttt_bench.metrics.measure.base import Measured, Measurement
from ttt_bench.metrics.measure.sums import histogram, sums
from ttt_bench.metrics.normals import ANGLE_BINS, BINS_PER_DEGREE
from ttt_bench.tasks import IGNORE


def angles(prediction: Tensor, target: Tensor, ignore_index: int = IGNORE) -> tuple[Tensor, Tensor]:
    """Return the angles in degrees and where they are valid, each (B, H, W).

    The angle is 2 atan2(|p - t|, |p + t|) of unit vectors, which is exact near 0 and 180 degrees
    where the arccosine is not. It is 0 for pixels without a target.

    Args:
        prediction: (B, 3, H, W) of any length.
        target: (B, 3, H, W), `ignore_index` in every channel where a pixel has none.
        ignore_index: the value of pixels that are not counted.
    """
    # (B, 3, H, W) -> (B, H, W)
    valid = (target != ignore_index).all(dim=1)
    p, t = _unit(prediction), _unit(target)
    radians = torch.where(valid, 2 * torch.atan2(_length(p - t), _length(p + t)), 0)
    return torch.rad2deg(radians), valid


def angle_sums(prediction: Tensor, target: Tensor, ignore_index: int = IGNORE) -> Tensor:
    """Return each image's valid pixels and the sum of their angles in degrees, (B, 2) float64.

    Arguments as for `angles`.
    """
    degrees, valid = angles(prediction, target, ignore_index)
    return sums([valid, degrees])


def angle_histogram(degrees: Tensor, valid: Tensor) -> Tensor:
    """Return the number of valid pixels in each bin of 1/16 degree, (2880,) float64.

    Args:
        degrees: (B, H, W).
        valid: (B, H, W) bool.
    """
    bins = (degrees * BINS_PER_DEGREE).int().clamp(0, ANGLE_BINS - 1)
    return histogram(torch.where(valid, bins, ANGLE_BINS), ANGLE_BINS)


def _unit(vectors: Tensor) -> Tensor:
    # lengths: (B, H, W) -> (B, 1, H, W)
    return vectors / _length(vectors).clamp(min=1e-12).unsqueeze(1)


def _length(vectors: Tensor) -> Tensor:
    # (B, 3, H, W) -> (B, H, W); ten times faster over three channels than
    # torch.linalg.vector_norm on a CPU
    return vectors.square().sum(dim=1).sqrt()


class NormalsMeasurement(Measurement):
    """The measurement of surface normals."""

    def image_sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        return angle_sums(prediction, target)

    def measure(self, prediction: Tensor, target: Tensor, scoring: Scoring) -> Measured:
        degrees, valid = angles(prediction, target)
        return Measured(sums([valid, degrees]), angle_histogram(degrees, valid))

    def compared(self, prediction: Tensor) -> Tensor:
        """Return unit vectors."""
        return _unit(prediction)

    def difference(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the angle in units of 90 degrees, mean over pixels, in [0, 2]."""
        # one length per pixel is faster than the two of `angles`; the mean needs no more precision
        radians = 2 * torch.asin((_length(one - other) / 2).clamp_(max=1))
        return sums([radians])[:, 0] / (one[0, 0].numel() * math.pi / 2)

    def mirrored(self, prediction: Tensor) -> Tensor:
        """Return the mirrored vectors, whose x has the other sign."""
        flipped = prediction.flip(-1)
        flipped[:, 0].neg_()
        return flipped

    def shown_truth(self, target: Tensor) -> NDArray[Any]:
        """Return unit vectors (B, 3, H, W) float16; a pixel without a target stays 255."""
        # (B, 3, H, W) -> (B, 1, H, W)
        ignored = (target == IGNORE).all(dim=1, keepdim=True)
        shown = torch.where(ignored, target, F.normalize(target, dim=1))
        found: NDArray[Any] = shown.half().cpu().numpy()
        return found

    def random_target(
        self, shape: tuple[int, int, int], channels: int, generator: torch.Generator
    ) -> Tensor:
        return F.normalize(super().random_target(shape, channels, generator) - 0.5, dim=1)


MEASUREMENT = NormalsMeasurement()
