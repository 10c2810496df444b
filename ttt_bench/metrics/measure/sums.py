"""Sums and counts over pixels, in float64 and without a transfer to the host."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-300


def sums(values: Sequence[Tensor]) -> Tensor:
    """Return the sum of each image of N tensors (B, ...), (B, N) float64."""
    # N times (B, ...) -> (B,) -> (B, N)
    return torch.stack([value.flatten(1).sum(1, dtype=torch.float64) for value in values], dim=1)


def moments(prediction: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return n, sum p, sum t, sum p^2, sum t^2, sum p t of each image, (B, 6) float64.

    Args:
        prediction: (B, ...).
        target: the same shape.
        valid: the same shape, bool: the pixels that count.
    """
    p = torch.where(valid, prediction, 0).double()
    t = torch.where(valid, target, 0).double()
    return sums([valid, p, t, p * p, t * t, p * t])


def relative_rms(one: Tensor, other: Tensor) -> Tensor:
    """Return the root mean squared difference of each image, relative to their spread, (B,).

    It is sqrt(mean (p - q)^2 / (var p + var q + (mean p - mean q)^2)), in float64, which is
    sqrt(1 - c) with Lin's concordance coefficient c (Lin, Biometrics 1989). It is 0 for equal
    maps, 1 for uncorrelated ones and for constants that differ, and at most sqrt 2.

    Args:
        one: (B, ...).
        other: the same shape.
    """
    # (B, ...) -> (B, N)
    p, q = one.flatten(1).double(), other.flatten(1).double()
    error = F.mse_loss(p, q, reduction="none").mean(1)
    # var p + var q + (mean p - mean q)^2
    spread = p.square().mean(1) + q.square().mean(1) - 2 * p.mean(1) * q.mean(1)
    return (error / spread.clamp_min(TINY)).sqrt().clamp_max(math.sqrt(2))


def histogram(bins: Tensor, count: int) -> Tensor:
    """Return how often 0, 1, ... count - 1 occur, (count,) float64.

    Args:
        bins: (B, H, W) integers in 0..count; `count` itself is not counted.
        count: number of bins.
    """
    if bins.device.type == "cpu":
        return torch.bincount(bins.flatten(), minlength=count + 1)[:count].double()
    # bincount asks a GPU for the largest number and waits for the answer
    places = bins.flatten(1).long()
    one = torch.ones((), dtype=torch.float64, device=bins.device)
    counts = torch.zeros(len(places), count + 1, dtype=torch.float64, device=bins.device)
    # one row per image: (B, count + 1) -> (count,)
    return counts.scatter_add_(1, places, one.expand_as(places)).sum(0)[:count]


def image_histograms(bins: Tensor, count: int) -> Tensor:
    """Return how often 0, 1, ... count - 1 occur in each image, (B, count) float64.

    Args:
        bins: (B, H, W) int64 in 0..count; `count` itself is not counted.
        count: number of bins.
    """
    # (B, H, count + 1): one histogram per row of pixels, so that few additions of a GPU meet in one
    # place
    counts = torch.zeros(*bins.shape[:2], count + 1, dtype=torch.float64, device=bins.device)
    counts.scatter_add_(2, bins, torch.ones_like(bins, dtype=torch.float64))
    # (B, H, count + 1) -> (B, count)
    found: Tensor = counts.sum(1)[:, :-1]
    return found
