"""Copies of a network's tensors, which a reset and a resumed run restore."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class Copies(nn.Module):
    """Copies of named tensors, such as a teacher's weights, as buffers.

    Args:
        tensors: name -> tensor.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            # PyTorch allows no dot in a buffer's name
            self.register_buffer(name.replace(".", "/"), tensor.detach().clone())

    def by_name(self) -> dict[str, Tensor]:
        """Return name -> copy."""
        return {name.replace("/", "."): copy for name, copy in self.named_buffers()}

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy the present values of the tensors, in place."""
        for name, copy in self.by_name().items():
            copy.copy_(tensors[name].detach())
