"""Affinity of tasks: how much a step on one task's loss lowers the loss of another task.

Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning" (NeurIPS 2021): with
the shared parameters theta and the loss L of each task on one batch,

    Z[i, j] = 1 - L_j(theta - eta_i * grad L_i(theta)) / L_j(theta)

The heads stay fixed. Here eta_i is such that each step has the norm `STEP` * |theta|, so that the
scales of the losses do not decide how far a step goes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from ttt_bench.network import Batch

STEP = 1e-4
"""Norm of a step, as a share of the norm of the shared parameters.

Steps are in the linear regime: the affinity is about eta_i * <grad L_i, grad L_j> / L_j.
"""

Losses = Callable[[nn.Module, Batch], Mapping[str, Tensor]]
"""(network, batch) -> task -> loss."""
Shared = Callable[[nn.Module], Sequence[nn.Parameter]]
"""Network -> its shared parameters."""


def affinity(
    network: nn.Module,
    batches: Iterable[Batch],
    *,
    losses: Losses,
    shared: Shared,
    step: float = STEP,
) -> Tensor:
    """Return the affinity of tasks, (T, T) in float64 on the CPU, the mean over batches.

    Row i is the task whose loss the step descends, column j the task whose loss is compared. An
    entry is the mean over the batches on which both tasks have a loss above 0; it is NaN if there
    is no such batch, for example without valid pixels.

    The network is copied and its copy computes in float64: the network itself does not change.

    Args:
        network: the network, in the modes in which it predicts.
        batches: images and targets.
        losses: the task losses, in the order of rows and columns.
        shared: the shared parameters of a network.
        step: norm of a step, as a share of the norm of the shared parameters.
    """
    own = copy.deepcopy(network).double().requires_grad_(requires_grad=True)
    parameters = list(shared(own))
    # one (T, T) per batch -> (batches, T, T)
    found = torch.stack(
        [_of_batch(own, _double(batch), losses, parameters, step) for batch in batches]
    )
    return found.nanmean(dim=0).cpu()


def _double(batch: Batch) -> Batch:
    targets = {
        task: target.double() if target.is_floating_point() else target
        for task, target in batch.targets.items()
    }
    return Batch(batch.images.double(), targets)


def _of_batch(
    network: nn.Module,
    batch: Batch,
    losses: Losses,
    parameters: Sequence[nn.Parameter],
    step: float,
) -> Tensor:
    """Return the affinity on one batch, (T, T)."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    start = list(losses(network, batch).values())
    before = torch.stack(start).detach()  # (T,)
    gradients = [
        torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
        for loss in start
    ]
    after = []
    for gradient in gradients:
        with _Moved(parameters, gradient, step), torch.no_grad():
            after.append(torch.stack(list(losses(network, batch).values())))
    for name, buffer in network.named_buffers():
        buffer.copy_(buffers[name])
    # without a loss of task i there is no step, and without one of task j nothing to compare
    known = (before[:, None] > 0) & (before[None, :] > 0)  # (T, T)
    return torch.where(known, 1 - torch.stack(after) / before, torch.nan)


class _Moved:
    """Move parameters against a gradient within a block, and restore them after it."""

    def __init__(
        self, parameters: Sequence[nn.Parameter], gradient: Sequence[Tensor], step: float
    ) -> None:
        self.parameters, self.gradient = parameters, gradient
        self.rate = step_size(parameters, gradient, step)
        self.values = [parameter.detach().clone() for parameter in parameters]

    def __enter__(self) -> None:
        with torch.no_grad():
            for parameter, gradient in zip(self.parameters, self.gradient, strict=True):
                parameter.sub_(self.rate * gradient)

    def __exit__(self, *_: object) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.values, strict=True):
                parameter.copy_(value)


def step_size(parameters: Sequence[Tensor], gradient: Sequence[Tensor], step: float) -> float:
    """Return eta with |eta * gradient| = step * |parameters|; 0 if the gradient is 0."""
    size = _norm(gradient)
    return step * _norm(parameters) / size if size else 0.0


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(torch.stack([tensor.detach().norm() for tensor in tensors]).norm())
