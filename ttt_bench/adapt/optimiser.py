"""The construction of optimisers from settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapter import Optimiser


def make_optimiser(
    parameters: Iterable[Tensor], settings: Optimiser, batch: int
) -> torch.optim.Optimizer:
    """Return the optimiser of these settings.

    Args:
        parameters: the parameters that it updates.
        settings: its settings.
        batch: images per batch; it multiplies a learning rate that is given per sample.
    """
    lr = settings.lr * batch if settings.lr_per_sample else settings.lr
    common: dict[str, Any] = {"lr": lr, "weight_decay": settings.weight_decay}
    if settings.optimiser == "adam":
        return torch.optim.Adam(parameters, betas=(settings.beta1, settings.beta2), **common)
    return torch.optim.SGD(
        parameters, momentum=settings.momentum, nesterov=settings.nesterov, **common
    )
