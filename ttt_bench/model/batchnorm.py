"""BatchNorm modes: the harness sets them, so that no method replaces or deletes a layer's
buffers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ttt_bench.adapter import Norm

BATCH_NORMS: tuple[type[nn.Module], ...] = (_BatchNorm,)
"""BatchNorm of any dimension, and timm's kinds that are fused with an activation: they derive
from it.
"""
AFFINE_NORMS: tuple[type[nn.Module], ...] = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, _InstanceNorm)
"""Every kind of normalisation layer that can have a scale and a shift."""


def affine_parameters(
    model: nn.Module, kinds: tuple[type[nn.Module], ...], prefix: str = ""
) -> tuple[str, ...]:
    """Names of the scales and shifts of a model's normalisation layers of these kinds, in the
    model's order.
    """
    return tuple(
        f"{prefix}{layer}.{parameter}"
        for layer, module in model.named_modules()
        if isinstance(module, kinds)
        for parameter, _ in module.named_parameters(recurse=False)
    )


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """The running mean and variance of a model's BatchNorm layers, named as the model names
    them.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    return {
        f"{n}.{b}": m.get_buffer(b)
        for n, m in layers.items()
        for b in ("running_mean", "running_var")
    }


class NormController:
    """Sets how every BatchNorm layer of a model behaves.

    Any subclass of PyTorch's batch norm counts (timm's fused norm-and-activation layers too).
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.layers: dict[str, _BatchNorm] = {
            n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)
        }

    def set(self, mode: Norm) -> None:
        """Put every layer into `mode`.

        `BATCH` is train mode that tracks nothing: PyTorch then normalises with the batch and is
        given no buffers.
        """
        for layer in self.layers.values():
            layer.training = mode is not Norm.RUNNING
            layer.track_running_stats = mode is not Norm.BATCH

    def set_momentum(self, momentum: float) -> None:
        """The share of a batch in the running statistics that `Norm.EMA` moves."""
        for layer in self.layers.values():
            layer.momentum = momentum

    @contextmanager
    def within(self, mode: Norm, stats: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Behave as `mode` within the block, on a second set of buffers if `stats` is given;
        then as before.
        """
        before = {
            name: (layer.training, layer.track_running_stats) for name, layer in self.layers.items()
        }
        own = self._exchange(stats) if stats is not None else None
        self.set(mode)
        try:
            yield
        finally:
            if own is not None:
                self._exchange(own)
            for name, layer in self.layers.items():
                layer.training, layer.track_running_stats = before[name]

    def _exchange(self, stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = running_statistics(self._model)
        for name in own:
            layer, _, buffer = name.rpartition(".")
            self.layers[layer]._buffers[buffer] = stats[name]
        return own
