"""Modes of BatchNorm layers, and names of normalisation layers' parameters and statistics.

The harness sets the modes, so that no method replaces or deletes a layer's buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from ttt_bench.adapter import Norm

BATCH_NORMS: tuple[type[nn.Module], ...] = (_BatchNorm,)
"""BatchNorm of any dimension; timm's layers fused with an activation are subclasses of it."""
AFFINE_NORMS: tuple[type[nn.Module], ...] = (_BatchNorm, nn.GroupNorm, nn.LayerNorm, _InstanceNorm)
"""Every kind of normalisation layer that can have a scale and a shift."""


def affine_parameters(
    model: nn.Module, kinds: tuple[type[nn.Module], ...], prefix: str = ""
) -> tuple[str, ...]:
    """Return the names of the scales and shifts of a model's normalisation layers.

    Args:
        model: the model; the names are in its order.
        kinds: the kinds of layers to include.
        prefix: text put before every name.
    """
    return tuple(
        f"{prefix}{layer}.{parameter}"
        for layer, module in model.named_modules()
        if isinstance(module, kinds)
        for parameter, _ in module.named_parameters(recurse=False)
    )


def running_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return the running mean and variance of every BatchNorm layer, by their names."""
    return {
        f"{name}.{buffer}": layer.get_buffer(buffer)
        for name, layer in _batch_norm_layers(model).items()
        for buffer in ("running_mean", "running_var")
    }


def set_norm(model: nn.Module, mode: Norm) -> None:
    """Set the mode of every BatchNorm layer of a model."""
    _set_mode(_batch_norm_layers(model).values(), mode)


class NormController:
    """The BatchNorm layers of a model, found once, to change their mode at every step.

    Attributes:
        layers: name in the model -> layer, subclasses of PyTorch's batch norm included.
        ema_used: whether the layers' own running statistics were ever under `Norm.EMA`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.layers = _batch_norm_layers(model)
        self.ema_used = False

    def set(self, mode: Norm) -> None:
        """Set the mode of every layer."""
        self.ema_used |= mode is Norm.EMA
        _set_mode(self.layers.values(), mode)

    def set_momentum(self, momentum: float) -> None:
        """Set the weight of a batch in the running statistics that `Norm.EMA` moves."""
        for layer in self.layers.values():
            layer.momentum = momentum

    @contextmanager
    def within(self, mode: Norm, stats: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Set the mode of every layer within the block, and restore the previous modes after it.

        With `stats` (named as by `running_statistics`) the block uses this second set of buffers.
        """
        before = {
            name: (layer.training, layer.track_running_stats) for name, layer in self.layers.items()
        }
        own = self._exchange(stats) if stats is not None else None
        self.ema_used |= mode is Norm.EMA and own is None
        _set_mode(self.layers.values(), mode)
        try:
            yield
        finally:
            if own is not None:
                self._exchange(own)
            for name, layer in self.layers.items():
                layer.training, layer.track_running_stats = before[name]

    def _exchange(self, stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Replace the running statistics by `stats`; return the previous ones."""
        own = running_statistics(self._model)
        for name in own:
            layer, _, buffer = name.rpartition(".")
            self.layers[layer]._buffers[buffer] = stats[name]
        return own


def _batch_norm_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)
    }


def _set_mode(layers: Iterable[_BatchNorm], mode: Norm) -> None:
    for layer in layers:
        layer.training = mode is not Norm.RUNNING
        # with `training` and without tracking, PyTorch normalises with the batch, without buffers
        layer.track_running_stats = mode is not Norm.BATCH
