"""The context that the harness passes to a method.

It holds normalisation modes, named streams of random numbers and the recipe's losses. Each stream
has its own generators, so that a draw in one moves no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

from ttt_bench.adapt.optimiser import forget
from ttt_bench.adapter import Context, Draws, Norm
from ttt_bench.losses import Recipe
from ttt_bench.model.batchnorm import NormController
from ttt_bench.network import Net
from ttt_bench.util.seeding import derive_seed


class Stream(Draws):
    """The random numbers of one stream.

    Args:
        device: the device of the network.
        seed: seed of the generators: one on the CPU, and one on the device if that is another one.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self._device = device
        self._on_cpu = torch.Generator().manual_seed(seed)
        on_cpu = device.type == "cpu"
        self._on_device = self._on_cpu if on_cpu else torch.Generator(device).manual_seed(seed)
        self.generators = [self._on_cpu] if on_cpu else [self._on_cpu, self._on_device]

    @property
    def generator(self) -> torch.Generator:
        return self._on_cpu

    def rand(self, *shape: int) -> Tensor:
        # drawn on the CPU, so that every device sees the same numbers
        return torch.rand(shape, generator=self._on_cpu).to(self._device, non_blocking=True)

    def uniform_like(self, x: Tensor) -> Tensor:
        return torch.empty_like(x).uniform_(generator=self._on_device)

    def normal_like(self, x: Tensor) -> Tensor:
        return torch.empty_like(x).normal_(generator=self._on_device)


class Streams:
    """The streams of a context. A stream is made when it is first used, and seeded by its name.

    Each hook of a method has its own streams: names in `predict` are other streams than equal
    names in `step`.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._parts: tuple[object, ...] = ()
        self._hook = ""
        self._made: dict[str, Stream] = {}

    def seed(self, *parts: object) -> None:
        """Seed all streams again; `parts` is their common use, such as (seed, method, batch)."""
        self._parts, self._made = parts, {}

    @contextmanager
    def within(self, hook: str) -> Iterator[None]:
        """Use the streams of a hook within the block."""
        before, self._hook = self._hook, hook
        try:
            yield
        finally:
            self._hook = before

    def named(self, name: str) -> Stream:
        """Return the hook's stream of a name; the main one has the name ""."""
        return self._stream("/".join(filter(None, (self._hook, name))))

    def _stream(self, name: str) -> Stream:
        if name not in self._made:
            own = ("stream", name) if name else ()
            self._made[name] = Stream(self.device, derive_seed(*self._parts, *own))
        return self._made[name]

    def state(self) -> dict[str, Tensor]:
        """Return the states of the generators of all streams that were used."""
        return {
            f"{number}.{name}": generator.get_state()
            for name, stream in self._made.items()
            for number, generator in enumerate(stream.generators)
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned. Streams that it lacks are seeded when they are used."""
        self._made = {}
        for key, values in state.items():
            number, _, name = key.partition(".")
            self._stream(name).generators[int(number)].set_state(values)


class HarnessContext(Context):
    """The implementation of `Context`.

    Args:
        net: the network that the method works on.
        recipe: the source's recipe while training, the target's while adapting.
        source_recipe: the source's recipe; by default `recipe`.

    Attributes:
        streams: its random numbers.
        optimiser: the optimiser that adapts the network, which a session sets.
    """

    optimiser: torch.optim.Optimizer | None = None

    def __init__(self, net: Net, recipe: Recipe, source_recipe: Recipe | None = None) -> None:
        self.recipe, self.source_recipe = recipe, source_recipe or recipe
        self.batch, self.valid = {}, None
        self.norms = NormController(net.model)
        self.streams = Streams(next(net.parameters()).device)

    def seed(self, *parts: object) -> None:
        """Seed all streams with their use, such as (seed, method, batch)."""
        self.streams.seed(*parts)

    def stream(self, name: str) -> Draws:
        return self.streams.named(name)

    @property
    def generator(self) -> torch.Generator:
        return self.stream("").generator

    def norm(
        self, mode: Norm, stats: Mapping[str, Tensor] | None = None
    ) -> AbstractContextManager[None]:
        return self.norms.within(mode, stats)

    def reset_optimiser(self, when: Tensor) -> None:
        if self.optimiser is not None:
            forget(self.optimiser, when)

    def task_loss(self, task: str, prediction: Tensor, target: Tensor) -> Tensor:
        return self.recipe.losses[task](prediction, target)

    def rand(self, *shape: int) -> Tensor:
        return self.stream("").rand(*shape)

    def uniform_like(self, x: Tensor) -> Tensor:
        return self.stream("").uniform_like(x)

    def normal_like(self, x: Tensor) -> Tensor:
        return self.stream("").normal_like(x)
