"""The target of CoTTA's student, and the source's confidence that decides on it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ttt_bench.losses import cross_entropy

QUANTILE, MARGIN = 0.05, 0.05
"""The share of the source below the automatic threshold, and what is subtracted from it."""
BINS = 10_000
"""Bins of the histogram of the source's confidence."""
Decision = Literal["pixel", "batch"]
Space = Literal["logits", "probabilities"]
Kind = Literal["hard", "soft", "symmetric"]


def average_views(
    views: Iterable[Tensor], flipped: Sequence[bool], space: Space = "logits"
) -> Tensor:
    """Return the average of outputs on views, (B, C, H, W).

    Args:
        views: one output (B, C, H, W) per view.
        flipped: whether each view was mirrored; its output is mirrored back.
        space: "logits" for their mean, or "probabilities" for the logarithm of the mean softmax.
    """
    probabilities, total = space == "probabilities", None
    for view, mirrored in zip(views, flipped, strict=True):
        aligned = view.flip(-1) if mirrored else view
        if probabilities:
            aligned = aligned.log_softmax(dim=1)
        if total is None:
            total = aligned
        else:
            total = torch.logaddexp(total, aligned) if probabilities else total + aligned
    assert total is not None
    return total - math.log(len(flipped)) if probabilities else total / len(flipped)


def confidence(logits: Tensor) -> Tensor:
    """Return the largest probability at each pixel, (B, C, H, W) -> (B, 1, H, W)."""
    return logits.softmax(dim=1).amax(dim=1, keepdim=True)


def choose_target(
    anchor: Tensor,
    plain: Tensor,
    averaged: Tensor,
    threshold: float | Tensor,
    decision: Decision = "batch",
) -> Tensor:
    """Return the target of the student: `plain` where the anchor is confident, else `averaged`.

    Args:
        anchor: the source model's logits (B, C, H, W).
        plain: the teacher's outputs on the images (B, K, H, W), of any task.
        averaged: the average of its outputs on views, of the same shape.
        threshold: confidence above which a pixel keeps `plain`; a batch is averaged if its mean
            confidence is below it.
        decision: "pixel", or "batch" for one decision per batch.
    """
    sure = confidence(anchor)
    unsure = sure.mean() < threshold if decision == "batch" else ~(sure > threshold)
    return torch.where(unsure, averaged, plain)


def consistency_loss(student: Tensor, teacher: Tensor, kind: Kind = "soft") -> Tensor:
    """Return the mean cross-entropy of logits (B, C, H, W) over batch and pixels (scalar).

    Args:
        student: has the gradient.
        teacher: constant.
        kind: "soft" for -sum_c softmax(teacher) log_softmax(student); "symmetric" for half of it
            and half of the same with both exchanged; "hard" for the teacher's most likely class.
    """
    teacher = teacher.detach()
    if kind == "hard":
        return cross_entropy(student, teacher.argmax(dim=1))
    soft = _cross(teacher, student)
    return soft if kind == "soft" else (soft + _cross(student, teacher)) / 2


def _cross(target: Tensor, logits: Tensor) -> Tensor:
    return -(target.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1).mean()


class Confidence:
    """The confidence of a source model on source images, batch by batch."""

    def __init__(self) -> None:
        self._pixels: list[Tensor] = []
        self._images: list[Tensor] = []

    def add(self, logits: Tensor) -> None:
        """Add the logits (B, C, H, W) of a batch."""
        found = confidence(logits)
        bins = (found * BINS).long().clamp(max=BINS - 1).flatten()
        self._pixels = [torch.bincount(bins, minlength=BINS) + sum(self._pixels)]
        self._images.append(found.mean(dim=(1, 2, 3)))

    def thresholds(self) -> dict[str, Tensor]:
        """Return decision -> threshold: a quantile over pixels or over the images' means.

        The quantile over pixels is exact up to half a bin of the histogram.
        """
        below = self._pixels[0].cumsum(0) < QUANTILE * self._pixels[0].sum()
        images = torch.cat(self._images)
        return {
            "pixel": (below.sum() + 0.5).to(images) / BINS - MARGIN,
            "batch": images.quantile(QUANTILE) - MARGIN,
        }
