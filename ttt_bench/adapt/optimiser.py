"""Optimisers: construction from settings, learning rates, and forgetting their state."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from ttt_bench.adapt.parameters import matched
from ttt_bench.adapter import Optimiser


def make_optimiser(parameters: Mapping[str, Tensor], settings: Optimiser) -> torch.optim.Optimizer:
    """Return the optimiser of these settings for the parameters that it updates.

    Everything else is as in the authors' codes, which leave it at PyTorch's defaults: Adam's eps of
    1e-8, no AMSGrad, no dampening of SGD's momentum, and weight decay as a part of the gradient,
    except for AdamW. A learning rate that is given per sample is that of a batch of one image;
    `set_batch` scales it.

    Args:
        parameters: name -> parameter.
        settings: the settings.

    Raises:
        BenchError: a pattern of `settings.rates` matches no parameter.
    """
    groups = [
        {"params": list(own), "lr": settings.lr * factor, "factor": factor}
        for factor, own in _by_factor(parameters, settings.rates).items()
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            groups,
            momentum=settings.momentum,
            dampening=0.0,
            nesterov=settings.nesterov,
            weight_decay=settings.weight_decay,
        )
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.AdamW
    betas = (settings.beta1, settings.beta2)
    return kind(groups, betas=betas, eps=1e-8, amsgrad=False, weight_decay=settings.weight_decay)


def _by_factor(
    parameters: Mapping[str, Tensor], rates: Mapping[str, float]
) -> dict[float, list[Tensor]]:
    """Return factor of the learning rate -> parameters, both in the order of `parameters`."""
    factors = rate_factors(list(parameters), rates)
    found: dict[float, list[Tensor]] = {}
    for name, parameter in parameters.items():
        found.setdefault(factors[name], []).append(parameter)
    return found


def rate_factors(names: Collection[str], rates: Mapping[str, float]) -> dict[str, float]:
    """Return name of a parameter -> factor of its learning rate.

    Args:
        names: the parameters that the optimiser updates.
        rates: name or pattern -> factor; the first that matches a parameter counts.

    Raises:
        BenchError: a pattern matches no parameter.
    """
    kind = "parameter that the optimiser updates"
    found = dict.fromkeys(names, 1.0)
    # in reverse, so that the first pattern is the last to set a factor
    for pattern, own in reversed(matched(rates, names, where="setting rates", kind=kind).items()):
        found |= dict.fromkeys(own, rates[pattern])
    return found


def set_batch(optimiser: torch.optim.Optimizer, settings: Optimiser, images: int) -> None:
    """Set the learning rates for an update on a batch of this many images.

    They change only if they are given per sample, so a smaller last batch has a smaller rate.
    """
    if settings.lr_per_sample:
        for group in optimiser.param_groups:
            group["lr"] = settings.lr * group["factor"] * images


def forget(optimiser: torch.optim.Optimizer, when: Tensor) -> None:
    """Forget the state of an optimiser if `when`, a bool of shape (), is true.

    State of zeros equals the lack of state for SGD without dampening, Adam and AdamW. The value of
    `when` stays on its device, except for Adam's counter of steps.
    """
    for state in optimiser.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.masked_fill_(when.to(value.device), 0)
