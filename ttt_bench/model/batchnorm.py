"""Modes of BatchNorm layers, and names of normalisation layers' parameters and statistics.

The harness sets the modes, so that no method replaces or deletes a layer's buffers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils.hooks import RemovableHandle

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


def batch_statistics(x: Tensor, *, unbiased: bool) -> tuple[Tensor, Tensor]:
    """Return mean and variance (C,) of x (B, C, ...) over all axes but the second.

    Args:
        x: features.
        unbiased: whether the variance of n values is divided by n - 1 in place of n.
    """
    axes = [axis for axis in range(x.dim()) if axis != 1]
    return x.mean(axes), x.var(axes, correction=int(unbiased))


def mixed_statistics(
    features: Tensor, mean: Tensor, var: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """Return a layer's statistics mixed with those of its inputs, without gradients.

    They are (1 - alpha) stored + alpha batch, with the unbiased variance of the batch.

    Args:
        features: inputs of the layer (B, C, ...).
        mean: stored mean (C,).
        var: stored variance (C,).
        alpha: weight of the batch in [0, 1].
    """
    batch_mean, batch_var = batch_statistics(features.detach(), unbiased=True)
    return mean.lerp(batch_mean, alpha), var.lerp(batch_var, alpha)


def robust_batch_norm(
    features: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    momentum: float = 0.05,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return a layer's output (B, C, ...), normalised with moved statistics, and these statistics.

    They are (1 - momentum) stored + momentum batch, with the biased variance of the batch. In the
    output they have a gradient; the returned ones (C,) are detached.

    Args:
        features: inputs of the layer (B, C, ...).
        mean: stored mean (C,).
        var: stored variance (C,).
        weight: scale (C,); None for 1.
        bias: shift (C,); None for 0.
        momentum: weight of the batch.
        eps: added to the variance.
    """
    batch_mean, batch_var = batch_statistics(features, unbiased=False)
    mean, var = mean.lerp(batch_mean, momentum), var.lerp(batch_var, momentum)
    shape = (1, -1, *[1] * (features.dim() - 2))  # (C,) -> (1, C, 1, ...)
    output = (features - mean.view(shape)) * (var + eps).rsqrt().view(shape)
    if weight is not None:
        output = output * weight.view(shape)
    if bias is not None:
        output = output + bias.view(shape)
    return output, mean.detach(), var.detach()


def set_norm(model: nn.Module, mode: Norm) -> None:
    """Set every BatchNorm layer of a model to running, batch or moved statistics.

    `Norm.MIX` and `Norm.ROBUST` need a `NormController`.
    """
    _set_flags(_batch_norm_layers(model).values(), mode)


class NormController:
    """The BatchNorm layers of a model, found once, to change their mode at every step.

    Attributes:
        layers: name in the model -> layer, subclasses of PyTorch's batch norm included.
        share: weight of the batch under `Norm.MIX`.
        moved_statistics: whether the layers' own running statistics were ever under `Norm.EMA` or
            `Norm.ROBUST`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.layers = _batch_norm_layers(model)
        self.share: float | None = None
        self.moved_statistics = False
        self._hooked: Norm | None = None
        self._handles: list[RemovableHandle] = []

    def set(self, mode: Norm) -> None:
        """Set the mode of every layer."""
        self.moved_statistics |= mode in _MOVING
        self._set(mode)

    def set_momentum(self, momentum: float) -> None:
        """Set the weight of a batch in the statistics that `Norm.EMA` and `Norm.ROBUST` move."""
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
        hooked = self._hooked
        own = self._exchange(stats) if stats is not None else None
        self.moved_statistics |= mode in _MOVING and own is None
        self._set(mode)
        try:
            yield
        finally:
            if own is not None:
                self._exchange(own)
            self._hook(hooked)
            for name, layer in self.layers.items():
                layer.training, layer.track_running_stats = before[name]

    def _set(self, mode: Norm) -> None:
        self._hook(mode if mode in (Norm.MIX, Norm.ROBUST) else None)
        _set_flags(self.layers.values(), mode)

    def _hook(self, mode: Norm | None) -> None:
        """Register the hooks of a mode that PyTorch's layers do not have; None for no hooks."""
        if mode is self._hooked:
            return
        for handle in self._handles:
            handle.remove()
        self._hooked, self._handles = mode, []
        if mode is not None:
            before = self._mix if mode is Norm.MIX else _move_first
            for layer in self.layers.values():
                self._handles.append(layer.register_forward_pre_hook(before))
                # also after an error: the layer's own statistics return
                self._handles.append(layer.register_forward_hook(_put_back, always_call=True))

    def _mix(self, layer: nn.Module, inputs: tuple[Tensor]) -> None:
        """Let a layer normalise with its statistics mixed with those of its inputs (B, C, ...)."""
        assert self.share is not None
        mixed = mixed_statistics(inputs[0], *_own_statistics(layer), self.share)
        _replace(layer, *mixed)

    def _exchange(self, stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Replace the running statistics by `stats`; return the previous ones."""
        own = running_statistics(self._model)
        for name in own:
            layer, _, buffer = name.rpartition(".")
            self.layers[layer]._buffers[buffer] = stats[name]
        return own


_MOVING = (Norm.EMA, Norm.ROBUST)
"""The modes that move the running statistics."""
_KEPT = "_statistics_of_layer"


def _move_first(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Move a layer's statistics by its inputs (B, C, ...); return them normalised with these.

    PyTorch's layer has no gradient through running statistics. So the inputs are normalised here,
    and the layer itself normalises with mean 0 and variance 1.
    """
    assert isinstance(layer, _BatchNorm)
    assert layer.momentum is not None
    own = _own_statistics(layer)
    unit, mean, var = robust_batch_norm(
        inputs[0], *own, None, None, momentum=layer.momentum, eps=layer.eps
    )
    own[0].copy_(mean)
    own[1].copy_(var)
    _replace(layer, torch.zeros_like(mean), torch.full_like(var, 1 - layer.eps))
    return (unit,)


def _own_statistics(layer: nn.Module) -> tuple[Tensor, Tensor]:
    return layer.get_buffer("running_mean"), layer.get_buffer("running_var")


def _replace(layer: nn.Module, mean: Tensor, var: Tensor) -> None:
    """Let a layer normalise with other statistics until `_put_back`."""
    setattr(layer, _KEPT, _own_statistics(layer))
    layer._buffers["running_mean"], layer._buffers["running_var"] = mean, var


def _put_back(layer: nn.Module, inputs: object, output: object) -> None:
    own = layer.__dict__.pop(_KEPT, None)
    if own is not None:
        layer._buffers["running_mean"], layer._buffers["running_var"] = own


def _batch_norm_layers(model: nn.Module) -> dict[str, _BatchNorm]:
    return {
        name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)
    }


def _set_flags(layers: Iterable[_BatchNorm], mode: Norm) -> None:
    for layer in layers:
        layer.training = mode in (Norm.BATCH, Norm.EMA)
        # with `training` and without tracking, PyTorch normalises with the batch, without buffers
        layer.track_running_stats = mode is not Norm.BATCH
