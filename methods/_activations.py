"""Statistics of the outputs of BatchNorm layers, for ActMAD."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

Statistics = tuple[Tensor, Tensor]
"""Mean and variance of a layer, (C, h, w) each."""


class _Moments(torch.autograd.Function):
    """Mean and unbiased variance over the first dimension.

    Custom because `torch.var_mean` is many times slower on a CPU. The gradient in closed form reads
    the features once. It stores no tensor of their size except the features themselves, which
    BatchNorm stores anyway.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Statistics:
        # (N, C, H, W) -> (C, H, W)
        mean = features.mean(dim=0)
        squares = F.mse_loss(features, mean.expand_as(features), reduction="none")
        ctx.save_for_backward(features, mean)
        return mean, squares.sum(dim=0) / (len(features) - 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        to_mean, to_var = gradients
        features, mean = ctx.saved_tensors
        count = len(features)
        # d mean / d x_n = 1/N and d var / d x_n = 2 (x_n - mean) / (N - 1)
        slope = to_var * (2 / (count - 1))
        return torch.addcmul(to_mean / count - slope * mean, slope, features)


def activation_statistics(features: Tensor) -> Statistics:
    """Return mean and unbiased variance over the batch, (N, C, H, W) -> two (C, H, W); N >= 2."""
    return _Moments.apply(features)


def normalised(layer: _BatchNorm, statistics: Statistics) -> Statistics:
    """Return the statistics of a BatchNorm layer's output from those of its input.

    Under its stored statistics, the layer is an affine map per channel, y = g x + o with
    g = weight / sqrt(running_var + eps) and o = bias - g running_mean. So mean(y) = g mean(x) + o
    and var(y) = g^2 var(x). The output itself is hard to record: residual sums and activations
    change it in place, and timm's fused layers do not expose it before the activation.
    """
    mean, var = statistics
    gain = layer.weight / (layer.get_buffer("running_var") + layer.eps).sqrt()
    offset = layer.bias - gain * layer.get_buffer("running_mean")
    # (C,) -> (C, 1, 1), broadcast over the maps
    return mean * gain[:, None, None] + offset[:, None, None], var * gain.square()[:, None, None]


class Watch:
    """Record output statistics of BatchNorm layers within a block; the hooks stay registered."""

    def __init__(self, layers: Mapping[str, _BatchNorm]) -> None:
        self._found: dict[str, Statistics] | None = None
        for name, layer in layers.items():
            layer.register_forward_pre_hook(partial(self._look, name))

    def _look(self, name: str, layer: _BatchNorm, inputs: tuple[Tensor]) -> None:
        if self._found is not None:
            self._found[name] = normalised(layer, activation_statistics(inputs[0]))

    @contextmanager
    def recording(self) -> Iterator[dict[str, Statistics]]:
        """Yield a dict that gets each layer's statistics, in the order of the forward pass."""
        found: dict[str, Statistics] = {}
        self._found = found
        try:
            yield found
        finally:
            self._found = None
