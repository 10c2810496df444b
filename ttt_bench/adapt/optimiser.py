"""The construction of optimisers from settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapter import Optimiser


def make_optimiser(parameters: Iterable[Tensor], settings: Optimiser) -> torch.optim.Optimizer:
    """Return the optimiser of these settings for the parameters that it updates.

    Everything else is as in the authors' codes, which leave it at PyTorch's defaults: Adam's eps of
    1e-8, no AMSGrad, no dampening of SGD's momentum, and weight decay as a part of the gradient.
    A learning rate that is given per sample is that of a batch of one image; `set_batch` scales it.
    """
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay}
    if settings.optimiser == "adam":
        betas = (settings.beta1, settings.beta2)
        return torch.optim.Adam(parameters, betas=betas, eps=1e-8, amsgrad=False, **common)
    return torch.optim.SGD(
        parameters,
        momentum=settings.momentum,
        dampening=0.0,
        nesterov=settings.nesterov,
        **common,
    )


def set_batch(optimiser: torch.optim.Optimizer, settings: Optimiser, images: int) -> None:
    """Set the learning rate for an update on a batch of this many images.

    It changes only if it is given per sample, so a smaller last batch has a smaller rate.
    """
    if settings.lr_per_sample:
        for group in optimiser.param_groups:
            group["lr"] = settings.lr * images
