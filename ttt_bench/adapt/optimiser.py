"""Optimisers: construction from settings, learning rates, and forgetting their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from ttt_bench.adapter import Optimiser
from ttt_bench.errors import BenchError
from ttt_bench.util.text import listed


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
    check_rates(list(parameters), rates)
    found: dict[float, list[Tensor]] = {}
    for name, parameter in parameters.items():
        factors = (factor for pattern, factor in rates.items() if fnmatchcase(name, pattern))
        found.setdefault(next(factors, 1.0), []).append(parameter)
    return found


def check_rates(names: Sequence[str], rates: Mapping[str, float]) -> None:
    """Raise if a name or pattern of `rates` matches none of the parameters that are updated.

    Raises:
        BenchError: a pattern matches no parameter.
    """
    for pattern in rates:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise BenchError(
                f"setting rates: {pattern!r} matches no parameter that the optimiser updates; "
                f"correct the name or pattern (parameters: {listed(list(names))})"
            )


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
