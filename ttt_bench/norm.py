"""BatchNorm modes: the harness sets them, so that no method replaces or deletes a layer's buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ttt_bench.adapter import Norm


class NormController:
    """Sets how every BatchNorm layer of a model behaves.

    Any subclass of PyTorch's batch norm counts (timm's fused norm-and-activation layers too).
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers: dict[str, _BatchNorm] = {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)}

    def set(self, mode: Norm) -> None:
        """Put every layer into `mode`.

        `BATCH` is train mode that tracks nothing: PyTorch then normalises with the batch and is given no buffers.
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
        """Behave as `mode` within the block, on a second set of buffers if `stats` is given; then as before."""
        before = {name: (layer.training, layer.track_running_stats) for name, layer in self.layers.items()}
        own = self._exchange(stats) if stats is not None else None
        self.set(mode)
        try:
            yield
        finally:
            if own is not None:
                self._exchange(own)
            for name, layer in self.layers.items():
                layer.training, layer.track_running_stats = before[name]

    def buffers(self) -> dict[str, Tensor]:
        """Every layer's running mean and variance, named as the model names them."""
        names = ("running_mean", "running_var")
        return {f"{n}.{b}": layer.get_buffer(b) for n, layer in self.layers.items() for b in names}

    def _exchange(self, stats: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = self.buffers()
        for name in own:
            layer, _, buffer = name.rpartition(".")
            self.layers[layer]._buffers[buffer] = stats[name]
        return own
