"""The measurement of edges: moments, and matches within a tolerance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ttt_bench.metrics.base import Scoring
from ttt_bench.metrics.edge import LEVELS
from ttt_bench.metrics.measure.base import Measured, Measurement
from ttt_bench.metrics.measure.sums import histogram, moments
from ttt_bench.tasks import IGNORE

TOLERANCE = 0.0075
"""The largest distance of two matching edge pixels, as a share of the image's diagonal.

It is the default of BSDS.
"""


def edge_matches(prediction: Tensor, target: Tensor) -> Tensor:
    """Return three histograms over the 100 threshold levels, concatenated, (300,) float64.

    A pixel's level k is the highest threshold k / 100 of 0.01, 0.02, ... 0.99 that it reaches, and
    0 below. Counted are predicted pixels without a true edge near them, predicted pixels with one,
    and true edge pixels by the highest level near them. Near is within `TOLERANCE` of the diagonal
    of (H, W), measured between the centres of pixels.

    Args:
        prediction: (B, 1, H, W) in [0, 1].
        target: the same shape, 0, 1 or 255; pixels of 255 neither count nor match.
    """
    # (B, 1, H, W) -> (B, H, W)
    p, t = prediction[:, 0], target[:, 0]
    radius = TOLERANCE * math.hypot(*t.shape[1:])
    valid, truth = t != IGNORE, t == 1
    # one byte per pixel, because memory limits the speed of the maxima below
    level = torch.where(valid, p * LEVELS, 0.0).to(torch.uint8).clamp(max=LEVELS - 1)
    near_truth = disc_maximum(truth.to(torch.uint8), radius)
    near_level = disc_maximum(level, radius)
    predicted = torch.where(valid, level + LEVELS * near_truth, 2 * LEVELS)
    found = torch.where(truth, near_level, LEVELS)
    return torch.cat([histogram(predicted, 2 * LEVELS), histogram(found, LEVELS)])


def disc_maximum(values: Tensor, radius: float) -> Tensor:
    """Return the largest value within a Euclidean distance of every pixel, in the same shape.

    Args:
        values: (..., H, W).
        radius: the distance in pixels.
    """
    reach = int(radius)
    wide = [values]  # the largest value within 0, 1, 2, ... columns
    for columns in range(1, reach + 1):
        row = wide[-1].clone()
        row[..., columns:] = torch.maximum(row[..., columns:], values[..., :-columns])
        row[..., :-columns] = torch.maximum(row[..., :-columns], values[..., columns:])
        wide.append(row)
    largest = wide[reach].clone()
    for rows in range(1, reach + 1):
        row = wide[int(math.sqrt(radius**2 - rows**2))]
        largest[..., rows:, :] = torch.maximum(largest[..., rows:, :], row[..., :-rows, :])
        largest[..., :-rows, :] = torch.maximum(largest[..., :-rows, :], row[..., rows:, :])
    return largest


class EdgeMeasurement(Measurement):
    """The measurement of edges."""

    def image_sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        return moments(prediction, target, target != IGNORE)

    def measure(self, prediction: Tensor, target: Tensor, scoring: Scoring) -> Measured:
        matches = edge_matches(prediction, target) if scoring.edge_sigmoid else None
        return Measured(self.image_sums(prediction, target), matches)

    def random_target(
        self, shape: tuple[int, int, int], channels: int, generator: torch.Generator
    ) -> Tensor:
        return (super().random_target(shape, channels, generator) < 0.1).float()


MEASUREMENT = EdgeMeasurement()
