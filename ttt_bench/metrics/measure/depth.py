"""The measurement of depth: moments, and relative errors after the alignment of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ttt_bench.metrics.alignment import align
from ttt_bench.metrics.base import Scoring
from ttt_bench.metrics.depth import CLOSE
from ttt_bench.metrics.measure.base import Measured, Measurement
from ttt_bench.metrics.measure.sums import moments
from ttt_bench.tasks import IGNORE


def depth_errors(
    prediction: Tensor,
    target: Tensor,
    sums: Tensor,
    to_metres: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the pixels with a target above 0, their sum of |p - t| / t, and how many are close.

    A pixel is close if p and t differ by less than a factor of 1.25. The result is (3,) float64.

    Args:
        prediction: (B, 1, H, W), after the scoring transform.
        target: the same shape, 255 where a pixel has none.
        sums: (6,), the batch's moments; p is aligned by them.
        to_metres: decodes p and t after the alignment; None if they are in metres.
    """
    scale, shift = align(sums)
    valid = (target > 0) & (target != IGNORE)
    p, t = scale * prediction + shift, target
    if to_metres is not None:
        p, t = to_metres(p), to_metres(t)
    # a pixel without a target gets the ratio of a perfect prediction
    ratio = torch.where(valid, p / t, 1.0)
    close = valid & (ratio > 1 / CLOSE) & (ratio < CLOSE)
    error = (ratio - 1).abs().sum(dtype=torch.float64)
    return torch.stack([valid.count_nonzero().double(), error, close.count_nonzero().double()])


class DepthMeasurement(Measurement):
    """The measurement of depth."""

    def image_sums(self, prediction: Tensor, target: Tensor) -> Tensor:
        return moments(prediction, target, target != IGNORE)

    def measure(self, prediction: Tensor, target: Tensor, scoring: Scoring) -> Measured:
        found = self.image_sums(prediction, target)
        # the batch's moments: (B, 6) -> (6,)
        errors = depth_errors(prediction, target, found.sum(0), scoring.to_metres)
        return Measured(found, errors)


MEASUREMENT = DepthMeasurement()
