"""Supervised task losses and the recipes that combine them.

Every loss is 0, not NaN, if no pixel is valid. The value 255 marks an ignored pixel, in class
targets and in every channel of real-valued targets. The losses are those of S4T's public code.
Those of `human_parts` and `saliency`, with their weights, are those of MTI-Net's public code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ttt_bench.tasks import IGNORE, TASKONOMY, TASKS, WEIGHTED


def _valid_pixels(target: Tensor, ignore_index: int) -> Tensor:
    """Return where no channel of the target is ignored, (N, C, H, W) -> (N, 1, H, W) bool."""
    return (target != ignore_index).all(dim=1, keepdim=True)


def mean_over(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of `values` over the valid pixels, or 0 if no pixel is valid."""
    kept = torch.where(valid, values, torch.zeros_like(values))
    return kept.sum() / valid.sum().clamp(min=1)


def cross_entropy(logits: Tensor, target: Tensor, ignore_index: int = IGNORE) -> Tensor:
    """Return the mean cross-entropy in nats over valid pixels (scalar).

    Args:
        logits: (N, C, H, W).
        target: (N, H, W) int64.
        ignore_index: value of ignored pixels.
    """
    # the sum of CUDA's kernel has no deterministic form
    apart = logits.is_cuda and torch.are_deterministic_algorithms_enabled()
    reduction = "none" if apart else "sum"
    total = F.cross_entropy(logits, target, ignore_index=ignore_index, reduction=reduction).sum()
    return total / (target != ignore_index).sum().clamp(min=1)


def l1_loss(
    prediction: Tensor, target: Tensor, *, normalize: bool = False, ignore_index: int = IGNORE
) -> Tensor:
    """Return the absolute difference, summed over channels and averaged over valid pixels.

    Args:
        prediction: (N, C, H, W).
        target: (N, C, H, W).
        normalize: whether the prediction is first divided by its length over the channels; the
            target is used as it is.
        ignore_index: value of ignored pixels.
    """
    if normalize:
        prediction = F.normalize(prediction, dim=1)
    # (N, C, H, W) -> (N, 1, H, W)
    difference = (prediction - target).abs().sum(dim=1, keepdim=True)
    return mean_over(difference, _valid_pixels(target, ignore_index))


def balanced_binary_cross_entropy(
    logits: Tensor, target: Tensor, pos_weight: float | None = None, ignore_index: int = IGNORE
) -> Tensor:
    """Return the mean cross-entropy of 0/1 targets, with weight w on positives and 1 - w on others.

    Args:
        logits: (N, 1, H, W).
        target: (N, 1, H, W).
        pos_weight: w; None for the share of negatives among the valid elements.
        ignore_index: value of ignored elements.
    """
    valid = target != ignore_index
    count = valid.sum().clamp(min=1)
    weight: Tensor | float
    weight = ((target == 0) & valid).sum() / count if pos_weight is None else pos_weight
    loss = weight * target * F.softplus(-logits) + (1 - weight) * (1 - target) * F.softplus(logits)
    return mean_over(loss, valid)


def cosine_normal_loss(
    prediction: Tensor, target: Tensor, dim: int, ignore_index: int = IGNORE
) -> Tensor:
    """Return the mean of 1 - cosine of predictions and targets (N, 3, H, W) along `dim`.

    `dim=1` compares vectors and skips ignored pixels. `dim=-1` does as S4T's public code: along the
    image's width, without a mask.
    """
    unit = [v / (v.norm(dim=dim, keepdim=True) + 1e-6) for v in (prediction, target)]
    loss = 1 - (unit[0] * unit[1]).sum(dim=dim, keepdim=True)
    if dim != 1:
        found: Tensor = loss.mean()
        return found
    return mean_over(loss, _valid_pixels(target, ignore_index))


def softmax_entropy(logits: Tensor) -> Tensor:
    """Return the entropy in nats of the softmax over dim 1: (N, C, ...) -> (N, ...).

    The logarithm is that of `log_softmax`, so that a probability that underflows contributes 0,
    not NaN.
    """
    return -(logits.softmax(dim=1) * logits.log_softmax(dim=1)).sum(dim=1)


def automatic_weighted_loss(losses: Sequence[Tensor], params: Tensor) -> Tensor:
    """Return the uncertainty weighting sum_i L_i / (2 p_i^2) + log(1 + p_i^2); params (n,).

    Liebel and Koerner 2018, eq. 2.
    """
    total = params.new_zeros(())
    for loss, param in zip(losses, params, strict=True):
        total = total + loss / (2 * param**2) + torch.log1p(param**2)
    return total


TaskLoss = Callable[[Tensor, Tensor], Tensor]
"""(prediction, target) -> scalar."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Losses of a domain's tasks, and their combination.

    Attributes:
        name: name of the recipe.
        losses: task -> loss.
        weights: task -> fixed weight (1 under uncertainty weighting).
        uncertainty: whether trained uncertainties combine the tasks instead of the fixed weights.
        across_width: name of the recipe that replaces this one if the data variant sums the cosine
            loss on normals over the image's width; None if this one has no such loss.
    """

    name: str
    losses: Mapping[str, TaskLoss]
    weights: Mapping[str, float]
    uncertainty: bool
    across_width: str | None = None

    def combine(self, task_losses: Mapping[str, Tensor], params: Tensor | None = None) -> Tensor:
        """Return the joint objective of per-task losses (scalar).

        Args:
            task_losses: task -> scalar.
            params: (n,), the trained uncertainties in the order of `task_losses`; required if
                `uncertainty` is true.
        """
        if self.uncertainty:
            if params is None:
                raise ValueError(
                    f"recipe {self.name} needs the trained uncertainties; pass `params`"
                )
            return automatic_weighted_loss(list(task_losses.values()), params)
        weighted = [self.weights[task] * loss for task, loss in task_losses.items()]
        return torch.stack(weighted).sum()


TASKONOMY_OFFICIAL = "taskonomy_official"

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name=WEIGHTED,  # NYUD-v2, PASCAL-Context and the embedded domains
            losses={
                "semseg": cross_entropy,
                "depth": l1_loss,
                "normals": partial(l1_loss, normalize=True),
                "edge": partial(balanced_binary_cross_entropy, pos_weight=0.95),
                "human_parts": cross_entropy,
                "saliency": balanced_binary_cross_entropy,
            },
            weights={
                "semseg": 1.0,
                "depth": 1.0,
                "normals": 10.0,
                "edge": 50.0,
                "human_parts": 2.0,
                "saliency": 5.0,
            },
            uncertainty=False,
        ),
        Recipe(
            name=TASKONOMY,
            losses={
                "semseg": cross_entropy,
                "depth": l1_loss,
                "normals": partial(cosine_normal_loss, dim=1),
                "edge": l1_loss,
                "human_parts": cross_entropy,
                "saliency": balanced_binary_cross_entropy,
            },
            weights=dict.fromkeys(TASKS, 1.0),
            uncertainty=True,
            across_width=TASKONOMY_OFFICIAL,
        ),
        Recipe(
            name=TASKONOMY_OFFICIAL,  # the public code's cosine, along the image's width
            losses={
                "semseg": cross_entropy,
                "depth": l1_loss,
                "normals": partial(cosine_normal_loss, dim=-1),
                "edge": l1_loss,
                "human_parts": cross_entropy,
                "saliency": balanced_binary_cross_entropy,
            },
            weights=dict.fromkeys(TASKS, 1.0),
            uncertainty=True,
        ),
    )
}
