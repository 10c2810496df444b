"""From predictions to what a batch adds to the totals of a set, on the device;
`ttt_bench.metrics.scores` makes scores of them.

Totals are for the scores that no number of a single image gives: medians, errors after an alignment
of the batch, edges within a tolerance. They are counts and sums, so that batches add up. As in
`ttt_bench.metrics.statistics` nothing moves to the host, no shape depends on values, and
predictions that are not finite do no harm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ttt_bench.metrics.scores import ANGLE_BINS, BINS_A_DEGREE, CLOSE, EDGE_LEVELS
from ttt_bench.tasks import IGNORE

EDGE_TOLERANCE = 0.0075
"""How far, as a share of the image's diagonal, an edge may lie from where it belongs (the
default of BSDS).
"""

_LOG_RANGE = math.log(65_536)
_COUNTS_A_METRE = 512.0


def angle_histogram(degrees: Tensor, valid: Tensor) -> Tensor:
    """How many valid pixels have an angle in each bin of 1/16 degree, (2880,) float64; both
    inputs (B, H, W).
    """
    bins = (degrees * BINS_A_DEGREE).int().clamp(0, ANGLE_BINS - 1)
    return _histogram(torch.where(valid, bins, ANGLE_BINS), ANGLE_BINS)


def depth_errors(prediction: Tensor, target: Tensor, sums: Tensor, log_encoded: bool) -> Tensor:
    """Pixels with a target above 0, their sum of |p - t| / t, and how many are within a factor of 1.25: (3,) float64.

    Args:
        prediction: (B, 1, H, W), after the scoring transform.
        target: the same shape, 255 where there is none.
        sums: (6,), the batch's moments (`metrics.moments`), whose alignment p is brought to.
        log_encoded: both are log(1 + counts) / log(65536), counts of 1/512 m: decoded to metres
            after the alignment, p kept within 0..1, the range of the encoding.
    """
    scale, shift = _alignment(sums)
    valid = (target > 0) & (target != IGNORE)
    p, t = scale * prediction + shift, target
    if log_encoded:
        p, t = _metres(p.clamp(0, 1)), _metres(t)
    # where there is no target the ratio of a perfect prediction stands in
    ratio = torch.where(valid, p / t, 1.0)
    close = valid & (ratio > 1 / CLOSE) & (ratio < CLOSE)
    error = (ratio - 1).abs().sum(dtype=torch.float64)
    return torch.stack([valid.count_nonzero().double(), error, close.count_nonzero().double()])


def edge_matches(prediction: Tensor, target: Tensor) -> Tensor:
    """Pixels by the highest of the thresholds 0.01 .. 0.99 that they reach (level 0: none), (3 *
    100,) float64.

    The three counts of 100 levels are: predicted pixels without a true edge near them, those with
    one, and true edge pixels by the highest level near them. Near is within `EDGE_TOLERANCE` of the
    diagonal of (H, W), measured between the centres of pixels.

    Args:
        prediction: (B, 1, H, W) in [0, 1].
        target: the same shape, 0, 1 or 255; pixels of 255 neither count nor match.
    """
    p, t = prediction[:, 0], target[:, 0]
    radius = EDGE_TOLERANCE * math.hypot(*t.shape[1:])
    valid, truth = t != IGNORE, t == 1
    # one byte a pixel, since the maxima below are bound by memory
    level = torch.where(valid, p * EDGE_LEVELS, 0.0).to(torch.uint8).clamp(max=EDGE_LEVELS - 1)
    near_truth, near_level = (
        disc_maximum(truth.to(torch.uint8), radius),
        disc_maximum(level, radius),
    )
    predicted = torch.where(valid, level + EDGE_LEVELS * near_truth, 2 * EDGE_LEVELS)
    found = torch.where(truth, near_level, EDGE_LEVELS)
    return torch.cat([_histogram(predicted, 2 * EDGE_LEVELS), _histogram(found, EDGE_LEVELS)])


def disc_maximum(values: Tensor, radius: float) -> Tensor:
    """The largest value within `radius` of every pixel, by Euclidean distance; (..., H, W) in,
    the same out.
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


def _histogram(bins: Tensor, count: int) -> Tensor:
    """How often 0, 1, ... count - 1 occur in whole numbers (B, H, W), (count,) float64; `count`
    itself is left out.
    """
    if bins.device.type == "cpu":
        return torch.bincount(bins.flatten(), minlength=count + 1)[:count].double()
    # bincount asks a GPU how large the numbers are, and waits for the answer
    places = bins.flatten(1).long()
    one = torch.ones((), dtype=torch.float64, device=bins.device)
    counts = torch.zeros(len(places), count + 1, dtype=torch.float64, device=bins.device)
    return counts.scatter_add_(1, places, one.expand_as(places)).sum(0)[:count]


def _alignment(sums: Tensor) -> tuple[Tensor, Tensor]:
    """`scores.align` on the device: (scale, shift) float64 scalars."""
    n, sp, st, spp, _, spt = sums
    n = n.clamp(min=1)
    variance = spp - sp * sp / n
    constant = variance <= 1e-12 * spp.clamp(min=1e-300)
    scale = torch.where(constant, 0.0, (spt - sp * st / n) / variance)
    return scale, (st - scale * sp) / n


def _metres(encoded: Tensor) -> Tensor:
    return (encoded * _LOG_RANGE).expm1() / _COUNTS_A_METRE
