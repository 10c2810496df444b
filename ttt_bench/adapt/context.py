"""The context that the harness passes to a method.

It holds normalisation modes, seeded randomness and the recipe's losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from ttt_bench.adapter import Context, Norm
from ttt_bench.losses import Recipe
from ttt_bench.model.batchnorm import NormController
from ttt_bench.network import Net
from ttt_bench.util.seeding import derive_seed


class HarnessContext(Context):
    """The implementation of `Context`.

    Args:
        net: the network that the method works on.
        recipe: the source's recipe while training, the target's while adapting.
        source_recipe: the source's recipe; by default `recipe`.

    Attributes:
        generators: `generator`, and one on the network's device if that is not the CPU.
    """

    def __init__(self, net: Net, recipe: Recipe, source_recipe: Recipe | None = None) -> None:
        self.recipe, self.source_recipe = recipe, source_recipe or recipe
        self.norms = NormController(net.model)
        self._device = next(net.parameters()).device
        self.generator = torch.Generator()
        on_cpu = self._device.type == "cpu"
        self._on_device = self.generator if on_cpu else torch.Generator(self._device)
        self.generators = [self.generator] if on_cpu else [self.generator, self._on_device]

    def seed(self, *parts: object) -> None:
        """Seed the generators with their use, such as (seed, method, batch)."""
        for generator in self.generators:
            generator.manual_seed(derive_seed(*parts))

    def norm(
        self, mode: Norm, stats: Mapping[str, Tensor] | None = None
    ) -> AbstractContextManager[None]:
        return self.norms.within(mode, stats)

    def task_loss(self, task: str, prediction: Tensor, target: Tensor) -> Tensor:
        return self.recipe.losses[task](prediction, target)

    def rand(self, *shape: int) -> Tensor:
        # drawn on the CPU, so that every device sees the same numbers
        return torch.rand(shape, generator=self.generator).to(self._device, non_blocking=True)

    def uniform_like(self, x: Tensor) -> Tensor:
        return torch.empty_like(x).uniform_(generator=self._on_device)

    def normal_like(self, x: Tensor) -> Tensor:
        return torch.empty_like(x).normal_(generator=self._on_device)
