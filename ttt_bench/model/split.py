"""A batch that several devices share in source training.

Every device computes the features of its part of the images and gathers those of the other parts.
Whatever follows (heads, losses, a method's modules) is computed for the whole batch on every
device, with equal results. BatchNorm layers use the statistics of the whole batch. So losses and
gradients are those of one device, up to the order of additions.

The gradients are averaged over the devices (`average_gradients`). What every device computes alike
keeps its gradient. A feature is computed by one device only; the gradient that it passes back is
therefore multiplied by the number of devices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from timm.layers.drop import DropBlock2d, DropPath
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.dropout import _DropoutNd
from torch.overrides import TorchFunctionMode


class BatchSplit:
    """The parts of a batch that the processes of the default process group compute."""

    def __init__(self) -> None:
        self.rank, self.devices = dist.get_rank(), dist.get_world_size()

    def stages(self, compute: Callable[[Tensor], list[Tensor]], images: Tensor) -> list[Tensor]:
        """Return `compute(images)`, each device computing consecutive images.

        Fewer images than devices are computed by every device.

        Args:
            compute: returns the features (B, C_l, h_l, w_l) of images (B, 3, H, W).
            images: (B, 3, H, W), equal on all devices.
        """
        if len(images) < self.devices:
            return compute(images)
        parts = images.tensor_split(self.devices)
        sizes = [len(part) for part in parts]
        with _WholeBatchNorm(sizes):
            features = compute(parts[self.rank])
        return [_Gather.apply(feature, sizes, self.rank) for feature in features]


def random_layer(network: nn.Module) -> str | None:
    """Return the name of a layer that draws random numbers in training, or None if none does."""
    layers = network.named_modules()
    return next((name for name, layer in layers if _drop_rate(layer)), None)


def _drop_rate(layer: nn.Module) -> float:
    if isinstance(layer, _DropoutNd):
        return layer.p
    return float(layer.drop_prob or 0.0) if isinstance(layer, (DropPath, DropBlock2d)) else 0.0


def average_gradients(optimiser: torch.optim.Optimizer, *_: Any) -> None:
    """Replace the gradients of an optimiser's parameters by their means over the devices.

    May be registered as the optimiser's step pre-hook.
    """
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    gradients = [one.grad for one in parameters if one.grad is not None]
    mean = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(mean)
    mean /= dist.get_world_size()
    parts = mean.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


class _Gather(Function):
    """The features of the whole batch, (B, C, h, w), from those of this device's images."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, sizes: list[int], rank: int) -> Tensor:
        ctx.sizes, ctx.rank = sizes, rank
        # the parts that are exchanged have equal sizes
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([one[:size] for one, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return len(ctx.sizes) * gradient.split(ctx.sizes)[ctx.rank], None, None


class _WholeBatchNorm(TorchFunctionMode):
    """Within the block, BatchNorm layers normalise with the statistics of the whole batch.

    It replaces the function that layers of every kind call, not the layers, so that their modes,
    names and buffers are as usual.

    Args:
        sizes: number of images of each device.
    """

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self._sizes = sizes

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        function = self._batch_norm if func is F.batch_norm else func
        return function(*args, **(kwargs or {}))

    def _batch_norm(  # noqa: PLR0917 - as `F.batch_norm`
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, eps=eps)
        mean, var = self._statistics(x.detach())
        count = x.numel() // x.shape[1] * sum(self._sizes) // self._sizes[dist.get_rank()]
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(var * (count / (count - 1)), momentum)
        y: Tensor = _Normalise.apply(x, mean, var + eps, count)
        if weight is None or bias is None:
            return y
        return torch.addcmul(_like(bias, y), y, _like(weight, y))

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each channel over the whole batch, (C,) and (C,)."""
        var, mean = torch.var_mean(x, _all_but_channels(x), correction=0)
        own = torch.stack([mean, var])
        found = [torch.empty_like(own) for _ in self._sizes]
        dist.all_gather(found, own)
        means, variances = torch.stack(found, dim=1)  # (2, devices, C) -> two (devices, C)
        shares = means.new_tensor(self._sizes) / sum(self._sizes)
        mean = shares @ means
        return mean, shares @ (variances + (means - mean).square())


class _Normalise(Function):
    """(x - mean) / sqrt(var) per channel, where x is this device's part of the batch.

    Mean and variance (with BatchNorm's eps) depend on the x of all devices. With y the result, g
    its gradient, and means over the whole batch, the gradient of x is
    (g - mean(g) - y mean(g y)) / sqrt(var).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, var: Tensor, count: int) -> Tensor:
        y = F.batch_norm(x, mean, var, eps=0.0)
        ctx.save_for_backward(y, var.rsqrt())
        ctx.count = count
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,), (y, scale) = gradients, ctx.saved_tensors
        axes = _all_but_channels(y)
        means = torch.stack([gradient.sum(axes), (gradient * y).sum(axes)])
        dist.all_reduce(means)
        of_gradient, of_product = means / ctx.count
        centred = gradient - _like(of_gradient, y) - y * _like(of_product, y)
        return centred * _like(scale, y), None, None, None


def _all_but_channels(x: Tensor) -> tuple[int, ...]:
    return (0, *range(2, x.dim()))


def _like(values: Tensor, x: Tensor) -> Tensor:
    """Reshape one value per channel so that it broadcasts, (C,) -> (1, C, 1, ...)."""
    return values.view(1, -1, *[1] * (x.dim() - 2))
