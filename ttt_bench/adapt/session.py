"""One method that adapts one network: modes, updates, resets. The protocols use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.device import free_memory
from ttt_bench.adapt.optimiser import make_optimiser, set_batch
from ttt_bench.adapt.parameters import moved_parameters
from ttt_bench.adapt.returned import (
    check_batch_values,
    checked_plan,
    checked_predictions,
    checked_step,
    storage_of,
)
from ttt_bench.adapter import Adapter, Norm, Optimiser, Plan, StepOut, Target
from ttt_bench.errors import BenchError
from ttt_bench.losses import Recipe
from ttt_bench.network import Net
from ttt_bench.util import tensor_file
from ttt_bench.util.os_errors import is_out_of_memory
from ttt_bench.util.process import watched


class Session:
    """A method bound to a network, with the state that adapting changes.

    The session takes over `net`: it puts it in eval mode, sets `requires_grad` of every parameter
    (true for those that the method moves, false for all others) and the momentum of BatchNorm
    layers, and adapts it in place. `reset` restores parameters and buffers, but not these settings.

    Args:
        net: the source model.
        adapter: the method.
        optimiser: settings of the optimiser.
        statistics: the method's source statistics.
        target: the target's batches.
        recipe: the target's loss recipe.
        seed: seeds the method's randomness, with its name and the batch's number.
        source_recipe: the source's loss recipe; by default that of the target.

    Attributes:
        plan: what the method declared when it was bound.
        moved: name -> parameter that adapting moves.

    Raises:
        BenchError: the method's plan does not fit the network.
    """

    def __init__(
        self,
        net: Net,
        adapter: Adapter,
        *,
        optimiser: Optimiser,
        statistics: Mapping[str, Tensor],
        target: Target,
        recipe: Recipe,
        seed: int,
        source_recipe: Recipe | None = None,
    ) -> None:
        self.net, self.adapter, self.seed = net.eval(), adapter, seed
        self.ctx = HarnessContext(net, recipe, source_recipe)
        self.ctx.norms.set_momentum(adapter.options.norm_momentum)
        with watched(f"`bind` of method {adapter.name}"):
            bound = adapter.bind(net, statistics, target)
        self.plan: Plan = checked_plan(bound, adapter.name)
        if not self.plan.moves and self.plan.adapt is Norm.EMA:
            raise BenchError(
                f"method {adapter.name} declares no `moves` but adapt=Norm.EMA. Without moves no "
                "step runs: use predict=Norm.BATCH, or declare parameters in `moves`"
            )
        self.ctx.norms.share = self.plan.share
        self.moved = moved_parameters(net, self.plan.moves, adapter.name)
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in self.moved)
        # tensors without elements have the address 0
        self._memory = frozenset(map(storage_of, self._changing().values())) - {0}
        self._settings = optimiser
        self.optimiser = make_optimiser(self.moved, optimiser) if self.moved else None
        self.ctx.optimiser = self.optimiser
        self._initial = {name: tensor.detach().clone() for name, tensor in self._changing().items()}

    def reset(self) -> None:
        """Restore the source model in place: moved parameters, all buffers and the optimiser.

        The values of the batch and the method's streams begin again with `begin_batch`.

        Raises:
            BenchError: the method added, removed or reshaped buffers after `bind`.
        """
        self._overwrite(self._initial)
        if self.optimiser is not None:
            self.optimiser.state.clear()

    def begin_batch(self, number: int, images: Tensor, valid: Tensor | None = None) -> None:
        """Seed the method's randomness for batch `number` and show the batch to the method.

        Random numbers depend on the batch's number, so they are independent of the order of batches
        and of the batches before.

        Args:
            number: the batch's number.
            images: (B, 3, H, W).
            valid: true where a pixel is not padding, (B, 1, H, W); None if all are.
        """
        self.ctx.seed(self.seed, self.adapter.name, number)
        self.ctx.batch, self.ctx.valid = {}, valid
        self.ctx.norms.set(self.plan.predict)
        with torch.no_grad(), self.ctx.streams.within("begin_batch"):
            self.adapter.begin_batch(self.net, images, self.ctx)
        self._check_batch("begin_batch")

    def resume_batch(self, number: int, valid: Tensor | None = None) -> None:
        """Continue with a batch within which the restored state was saved.

        Random numbers that are first used after that are those of an undisturbed run.

        Args:
            number: the batch's number.
            valid: as for `begin_batch`.
        """
        used = self.ctx.streams.state()
        self.ctx.seed(self.seed, self.adapter.name, number)
        self.ctx.streams.restore(used)
        self.ctx.valid = valid

    def trajectory(
        self, images: Tensor, steps: int, look: Callable[[], None] | None = None
    ) -> Iterator[tuple[int, dict[str, Tensor], dict[str, Tensor]]]:
        """Adapt on a batch and yield (k, predictions, losses) for k = 0..steps.

        The predictions are those after k updates, the losses those that update k + 1 descends; the
        last losses are empty. If the plan is exact, the predictions are those that the step makes
        anyway; otherwise each needs one more forward pass.

        Args:
            images: the batch, (B, 3, H, W).
            steps: the number of updates.
            look: called before each of the predictions, with the network in the state that makes
                them.

        Raises:
            BenchError: the plan is exact, but a step returns no predictions.
        """
        look = look or (lambda: None)
        for k in range(steps):
            look()
            before = None if self.plan.exact else self.predict(images)
            out = self.step(images)
            if before is None:
                before = step_predictions(out, self.adapter.name)
            yield k, before, _detached(out.losses)
            self.update(out, images)
        look()
        yield steps, self.predict(images), {}

    def step(self, images: Tensor) -> StepOut:
        """Return the losses and predictions of one adaptation step; the weights are not updated.

        Raises:
            BenchError: the method's `step` returns something else.
        """
        self.ctx.norms.set(self.plan.adapt)
        out = self.adapter.step(self.net, images, self.ctx)
        self._check_batch("step")
        out = checked_step(out, self.adapter.name)
        if self.plan.exact and out.predictions is not None:
            self._checked(out.predictions, "step", images)
        return out

    def update(self, out: StepOut, images: Tensor) -> None:
        """Update the weights by what a step on these images returned, and call `after_step`.

        Raises:
            BenchError: the step has overwritten values that the gradient needs.
        """
        if out.update is None or bool(out.update):
            self._descend(out.losses, len(images))
        self.after_step(images)

    def adapt(self, images: Tensor) -> dict[str, Tensor]:
        """Make one step and update the weights; return the losses before the update."""
        return self._updated(self.step(images), images)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Return task -> (B, K, H, W), predicted by the current weights in the plan's mode.

        If memory runs out, halves of the batch are predicted one after the other, provided that
        each image's prediction is independent of the others. That is so in plain forward passes
        under `Norm.RUNNING`; kernels that a library chooses by the size of the batch may change
        the last bits.

        Raises:
            BenchError: the method's `predict` returns something else.
        """
        self.ctx.norms.set(self.plan.predict)
        with torch.no_grad(), self.ctx.streams.within("predict"):
            found = self._predicted(images)
        self._check_batch("predict")
        return self._checked(found, "predict", images)

    def _predicted(self, images: Tensor) -> dict[str, Tensor]:
        try:
            return self.adapter.predict(self.net, images, self.ctx)
        except Exception as error:
            plain = type(self.adapter).predict is Adapter.predict
            separable = plain and self.plan.predict is Norm.RUNNING and len(images) > 1
            if not (separable and is_out_of_memory(error)):
                raise
        free_memory(images.device)  # the error, whose frames hold on to tensors, is gone
        first, second = (self._predicted(half) for half in images.tensor_split(2))
        return {task: torch.cat([one, second[task]]) for task, one in first.items()}

    def separate_prediction(self, images: Tensor) -> dict[str, Tensor]:
        """Return what `predict` returns; buffers, streams and modes are as before the call.

        So a prediction that the trajectory does not need changes none of its numbers.
        """
        buffers = dict(self.net.named_buffers())
        before = {name: buffer.detach().clone() for name, buffer in buffers.items()}
        streams, batch = self.ctx.streams.state(), dict(self.ctx.batch)
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self.ctx.norms.within(self.plan.predict):
            predictions = self.predict(images)
        for name, values in before.items():
            # the step's graph may have saved the buffer: `data` keeps its version
            buffers[name].data.copy_(values)
        self.ctx.streams.restore(streams)
        self.ctx.batch = batch
        return predictions

    def end_batch(self, images: Tensor) -> None:
        """Tell the method that the last step on a batch is done."""
        with torch.no_grad(), self.ctx.streams.within("end_batch"):
            self.adapter.end_batch(self.net, images, self.ctx)
        self._check_batch("end_batch")

    def state(self) -> dict[str, Tensor]:
        """Return everything that changes between steps and batches, as flat tensors."""
        state = tensor_file.with_prefix("net.", self._changing())
        state |= tensor_file.with_prefix("batch.", self.ctx.batch)
        state |= tensor_file.with_prefix("stream.", self.ctx.streams.state())
        if self.optimiser is not None:
            state |= tensor_file.with_prefix(
                "optimiser.", tensor_file.optimiser_tensors(self.optimiser)
            )
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned.

        Raises:
            BenchError: the method added, removed or reshaped buffers after `bind`.
        """
        self._overwrite(tensor_file.below_prefix("net.", state))
        device = self.ctx.streams.device
        batch = tensor_file.below_prefix("batch.", state)
        self.ctx.batch = {name: tensor.to(device).clone() for name, tensor in batch.items()}
        self.ctx.streams.restore(tensor_file.below_prefix("stream.", state))
        if self.optimiser is not None:
            tensor_file.restore_optimiser(
                self.optimiser, tensor_file.below_prefix("optimiser.", state)
            )

    def _check_batch(self, hook: str) -> None:
        """Raise an error if a hook has put values into `ctx.batch` that cannot be saved."""
        check_batch_values(self.ctx.batch, f"`{hook}` of {self.adapter.name}", self._memory)

    def _checked(self, predictions: Any, hook: str, images: Tensor) -> dict[str, Tensor]:
        """Return the predictions that a hook returned; raise an error if they are invalid."""
        hook = f"`{hook}` of {self.adapter.name}"
        return checked_predictions(predictions, hook, self.net.model.tasks, images)

    def _updated(self, out: StepOut, images: Tensor) -> dict[str, Tensor]:
        """Update the weights by a step's losses on a batch; return the losses."""
        self.update(out, images)
        return _detached(out.losses)

    def after_step(self, images: Tensor) -> None:
        """Tell the method that a step's update is done."""
        with torch.no_grad(), self.ctx.streams.within("after_step"):
            self.adapter.after_step(self.net, images, self.ctx)
        self._check_batch("after_step")

    def _descend(self, losses: Mapping[str, Tensor], images: int) -> None:
        assert self.optimiser is not None
        set_batch(self.optimiser, self._settings, images)
        self.optimiser.zero_grad(set_to_none=True)
        self._differentiate(torch.stack(list(losses.values())).sum())
        self.optimiser.step()

    def _differentiate(self, loss: Tensor) -> None:
        try:
            loss.backward()
        except RuntimeError as error:
            if "modified by an inplace operation" not in str(error):
                raise
            raise BenchError(
                f"`step` of {self.adapter.name} overwrites values that the gradient of its losses "
                "needs, such as a parameter that it updates by hand; leave the update to the "
                "harness, or change a copy"
            ) from error

    def _changing(self) -> dict[str, Tensor]:
        return {**self.moved, **dict(self.net.named_buffers())}

    def _overwrite(self, values: Mapping[str, Tensor]) -> None:
        """Copy values into the moved parameters and all buffers, in place."""
        changing = self._changing()
        for name in sorted(changing.keys() | values.keys()):
            both = name in changing and name in values
            if not both or changing[name].shape != values[name].shape:
                raise self._late_buffer(name)
        with torch.no_grad():
            for name, tensor in changing.items():
                tensor.copy_(values[name])

    def _late_buffer(self, name: str) -> BenchError:
        return BenchError(
            f"method {self.adapter.name} added, removed or reshaped the buffer {name} after "
            "`bind`; register it in `build` or `bind` with its final shape, and write into it in "
            "place"
        )


def step_predictions(out: StepOut, method: str) -> dict[str, Tensor]:
    """Return the predictions of a step.

    Raises:
        BenchError: the step has returned no predictions.
    """
    if out.predictions is None:
        raise BenchError(
            f"method {method} declares exact=True, but its step returned no predictions; return "
            "them in StepOut, or declare exact=False"
        )
    return _detached(out.predictions)


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items()}
