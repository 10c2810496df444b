"""One method adapting one network: modes, updates, resetting. The protocols drive it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.optimiser import make_optimiser
from ttt_bench.adapter import Adapter, Norm, Optimiser, Plan
from ttt_bench.errors import BenchError
from ttt_bench.losses import Recipe
from ttt_bench.network import Net
from ttt_bench.util import tensor_file


class Session:
    """A method bound to a network, with the state that adapting changes.

    Args:
        net: the source model; it is adapted in place, and `reset` puts it back.
        statistics: the method's source statistics.
        recipe: the target's loss recipe.
        batch: images a batch, for learning rates that are given per sample.
        seed: with the method's name and the batch's number it seeds the method's randomness.
        source_recipe: the source's loss recipe; by default that of the target.
    """

    def __init__(
        self,
        net: Net,
        adapter: Adapter,
        optimiser: Optimiser,
        statistics: Mapping[str, Tensor],
        recipe: Recipe,
        batch: int,
        seed: int,
        source_recipe: Recipe | None = None,
    ) -> None:
        self.net, self.adapter, self.seed = net.eval(), adapter, seed
        self.ctx = HarnessContext(net, recipe, source_recipe)
        self.ctx.norms.set_momentum(adapter.options.norm_momentum)
        self.plan: Plan = adapter.bind(net, statistics)
        if not self.plan.moves and self.plan.adapt is Norm.EMA:
            raise BenchError(
                f"method {adapter.name} moves no parameter, yet adapts under moving statistics: a plan without moves "
                "makes no step; let it predict under Norm.BATCH, or move something"
            )
        self.moved = moved_parameters(net, self.plan.moves, adapter.name)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in self.moved)
        self.optimiser = (
            make_optimiser(list(self.moved.values()), optimiser, batch) if self.moved else None
        )
        self._initial = {name: tensor.detach().clone() for name, tensor in self._changing().items()}

    def reset(self) -> None:
        """Back to the source model: moved parameters, all buffers and the optimiser, in place.

        The method's generators are seeded anew by `begin_batch`.
        """
        with torch.no_grad():
            for name, tensor in self._changing().items():
                tensor.copy_(self._initial[name])
        if self.optimiser is not None:
            self.optimiser.state.clear()

    def begin_batch(self, number: int, images: Tensor) -> None:
        """Seed the method's randomness for a batch, so that shards and orders do not matter, and
        show it the batch.
        """
        self.ctx.seed(self.seed, self.adapter.name, number)
        self.ctx.norms.set(self.plan.predict)
        with torch.no_grad():
            self.adapter.begin_batch(self.net, images, self.ctx)

    def trajectory(
        self, images: Tensor, steps: int
    ) -> Iterator[tuple[int, dict[str, Tensor], dict[str, Tensor]]]:
        """Adapt on a batch: yields (k, predictions after k updates, losses computed before update k
        + 1), k = 0..steps.

        The losses of the last entry are empty. Where the plan is exact, the predictions that
        adapting makes on its way are used; otherwise each needs a forward pass of its own.
        """
        for k in range(steps):
            before = None if self.plan.exact else self.predict(images)
            self.ctx.norms.set(self.plan.adapt)
            out = self.adapter.step(self.net, images, self.ctx)
            if before is None:
                if out.predictions is None:
                    raise BenchError(
                        f"method {self.adapter.name} claims exact predictions, but its step returned none"
                    )
                before = {task: prediction.detach() for task, prediction in out.predictions.items()}
            yield k, before, {name: loss.detach() for name, loss in out.losses.items()}
            self._descend(out.losses)
        yield steps, self.predict(images), {}

    def adapt(self, images: Tensor) -> dict[str, Tensor]:
        """One update without scoring; returns the losses before it."""
        self.ctx.norms.set(self.plan.adapt)
        out = self.adapter.step(self.net, images, self.ctx)
        self._descend(out.losses)
        return {name: loss.detach() for name, loss in out.losses.items()}

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Predictions with the weights as they are, in the plan's prediction mode."""
        self.ctx.norms.set(self.plan.predict)
        with torch.no_grad():
            return self.adapter.predict(self.net, images, self.ctx)

    def end_batch(self, images: Tensor) -> None:
        """Tell the method that a batch's last step is done."""
        with torch.no_grad():
            self.adapter.end_batch(self.net, images, self.ctx)

    def state(self) -> dict[str, Tensor]:
        """What carries over from batch to batch, as flat tensors."""
        state = tensor_file.with_prefix("net.", self._changing())
        for number, generator in enumerate(self.ctx.generators):
            state[f"generator.{number}"] = generator.get_state()
        if self.optimiser is not None:
            state |= tensor_file.with_prefix(
                "optimiser.", tensor_file.optimiser_tensors(self.optimiser)
            )
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from where `state` was taken."""
        saved = tensor_file.below_prefix("net.", state)
        with torch.no_grad():
            for name, tensor in self._changing().items():
                tensor.copy_(saved[name])
        for number, generator in enumerate(self.ctx.generators):
            generator.set_state(state[f"generator.{number}"])
        if self.optimiser is not None:
            tensor_file.restore_optimiser(
                self.optimiser, tensor_file.below_prefix("optimiser.", state)
            )

    def _descend(self, losses: Mapping[str, Tensor]) -> None:
        assert self.optimiser is not None
        self.optimiser.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        self.optimiser.step()

    def _changing(self) -> dict[str, Tensor]:
        return {**self.moved, **dict(self.net.named_buffers())}


def moved_parameters(net: Net, moves: Sequence[str], method: str) -> dict[str, torch.nn.Parameter]:
    """The parameters that a plan's names and patterns mean, in the network's order.

    Raises:
        BenchError: a pattern that matches no parameter.
    """
    named = dict(net.named_parameters())
    for pattern in moves:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise BenchError(f"method {method} moves {pattern!r}, which matches no parameter")
    return {
        name: p for name, p in named.items() if any(fnmatchcase(name, pattern) for pattern in moves)
    }
