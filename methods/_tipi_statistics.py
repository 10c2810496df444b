"""The second set of running statistics of TIPI, and the layers that have one."""

from __future__ import annotations

from torch import Tensor, nn

from ttt_bench.model import running_statistics


def found_by_authors(model: nn.Module, layer: str) -> bool:
    """Return whether the authors' code adapts a normalisation layer of a model.

    It replaces the BatchNorm layers, of exactly that class, that `dir` lists. PyTorch's `dir` lists
    no child whose name begins with a digit, so it misses the layers of every `nn.Sequential`.
    """
    module = model.get_submodule(layer)
    if isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.InstanceNorm2d):
        return True
    return type(module) is nn.BatchNorm2d and not layer.rpartition(".")[2][0].isdigit()


class SecondStatistics(nn.Module):
    """A second set of a model's running statistics; contains only buffers.

    Args:
        model: the model.
        layers: the option `layers`. Layers that are not adapted have no second set.
    """

    def __init__(self, model: nn.Module, layers: str = "all") -> None:
        super().__init__()
        for name, values in running_statistics(model).items():
            if layers == "all" or found_by_authors(model, layer_of(name)):
                self.register_buffer(_buffer(name), values.detach().clone())

    def of(self, model: nn.Module) -> dict[str, Tensor]:
        """Return the set, named as by `running_statistics`.

        A layer without a second set has its own statistics in it, so that every forward pass
        updates these.
        """
        second = dict(self.named_buffers())
        return {
            name: second.get(_buffer(name), own) for name, own in running_statistics(model).items()
        }


def _buffer(name: str) -> str:
    return name.replace(".", "/")  # PyTorch allows no dot in a buffer's name


def layer_of(name: str) -> str:
    """Return the layer of a parameter or buffer."""
    return name.rpartition(".")[0]
