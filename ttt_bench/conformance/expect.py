"""Requirements that several checks share; a requirement that is not met raises an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

CUDA_TOLERANCE = 0.01
"""Largest difference, relative to the largest value, between runs that are equal on a CPU."""
Outputs = Sequence[Mapping[str, Tensor]]
"""Predictions and losses of every step of a run."""


class ViolationError(Exception):
    """The method breaks the contract; the message says how."""


def demand(holds: bool, otherwise: str) -> None:
    """Raise a `ViolationError` with the message `otherwise` unless the condition holds."""
    if not holds:
        raise ViolationError(otherwise)


def predictions_fit(
    predictions: Mapping[str, Tensor],
    channels: Mapping[str, int],
    count: int,
    size: tuple[int, int],
    where: str,
) -> None:
    """Demand that predictions are finite and (count, K, *size) for every task; `where` says when.

    Raises:
        ViolationError: otherwise.
    """
    wanted = {task: (count, k, *size) for task, k in channels.items()}
    found = {task: tuple(prediction.shape) for task, prediction in predictions.items()}
    demand(found == wanted, f"predictions {where} have the shapes {found}, not {wanted}")
    half = {task: p.dtype for task, p in predictions.items() if p.dtype is not torch.float32}
    demand(
        not half,
        f"predictions {where} are not float32: {half}; runs are in full precision, so predict "
        "outside autocast, or return `.float()`",
    )
    infinite = [task for task, prediction in predictions.items() if not _finite(prediction)]
    demand(not infinite, f"predictions of {', '.join(infinite)} {where} are not finite")


def losses_fit(losses: Mapping[str, Tensor], where: str) -> None:
    """Demand that losses are finite scalars.

    Raises:
        ViolationError: otherwise.
    """
    for name, loss in losses.items():
        demand(loss.dim() == 0, f"loss {name} {where} is not a scalar but {tuple(loss.shape)}")
        demand(_finite(loss), f"loss {name} {where} is not finite")


def same_outputs(first: Outputs, second: Outputs, otherwise: str) -> None:
    """Demand that two runs give equal numbers.

    Raises:
        ViolationError: otherwise, with the message `otherwise`.
    """
    demand(equal_outputs(first, second), otherwise)


def equal_outputs(first: Outputs, second: Outputs) -> bool:
    """Return whether two runs give equal predictions and losses, under equal names."""
    return len(first) == len(second) and all(map(_equal_step, first, second))


def _equal_step(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _equal(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal, bit for bit on a CPU.

    CUDA adds in varying order, and a few steps amplify the differences.
    """
    if one.device.type == "cpu":
        return torch.equal(one, other)
    return bool((one - other).abs().max() <= CUDA_TOLERANCE * one.abs().max())
