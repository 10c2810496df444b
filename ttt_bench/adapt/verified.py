"""A session that compares what a method does with what it claims; runs use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapt.session import Session, step_predictions
from ttt_bench.adapter import Adapter, StepOut
from ttt_bench.errors import ClaimError
from ttt_bench.network import Net
from ttt_bench.util.text import listed

TOLERANCE = 1e-3
"""Largest difference of a step's prediction and a separate one, relative to its largest value.

Two forward passes with the same float32 weights differ by about 1e-6, and by 1e-5 in a deep network
or where a GPU uses another algorithm. Differences below the tolerance change no printed digit of a
score, and other normalisation statistics or images give more than 1e-2.
"""

TINY = 1e-30

CALLS = 2
"""Verified calls of `step`, `after_step` and `predict`.

Every `begin_batch` and `end_batch` is verified.
"""


class VerifiedSession(Session):
    """A session that raises an error if the method does not do what its plan claims.

    - `bind` leaves the parameters of the model unchanged.
    - Only declared parameters move. This is verified in the first calls of `step`, `after_step`
      and `predict`, and at the beginning and end of every batch.
    - `predict` moves no parameter, in its first calls.
    - The buffers of the model do not change, except BatchNorm's statistics under `Norm.EMA` and
      `Norm.ROBUST`. The buffers of the method's modules may change.
    - If the plan is exact, the predictions of the first and the last step on the first batch equal
      those of a separate prediction.

    Raises:
        ClaimError: the method does otherwise, when it is bound or in a later call.
    """

    def __init__(self, net: Net, adapter: Adapter, **settings: Any) -> None:
        source = _copies(net.model.named_parameters(prefix="model"))
        super().__init__(net, adapter, **settings)
        self._calls = {"step": CALLS, "after_step": CALLS, "predict": CALLS}
        self._exactness_known = not self.plan.exact
        self._where = "`bind`"
        found = dict(net.named_parameters())
        self._demand_equal(source, found, "`bind` changes {}: step 0 must be the source model")
        self._undeclared = _copies(
            (name, parameter) for name, parameter in found.items() if name not in self.moved
        )
        self._shapes = {name: buffer.shape for name, buffer in net.named_buffers()}
        self._note_buffers()

    def reset(self) -> None:
        super().reset()
        self._note_buffers()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        super().restore(state)
        self._note_buffers()

    def begin_batch(self, number: int, images: Tensor, valid: Tensor | None = None) -> None:
        super().begin_batch(number, images, valid)
        self._where = f"batch {number}"
        self._verify("begin_batch")

    def end_batch(self, images: Tensor) -> None:
        super().end_batch(images)
        self._verify("end_batch")

    def step(self, images: Tensor) -> StepOut:
        if not self._due("step"):
            return super().step(images)
        shown = images.clone()
        out = super().step(images)
        self._demand(_same(shown, images), "`step` changes the images in place; copy them first")
        self._verify("step")
        return out

    def adapt(self, images: Tensor) -> dict[str, Tensor]:
        out = self.step(images)
        if not self._exactness_known:
            made = step_predictions(out, self.adapter.name)
            self._verify_exact(images, made, "the first step")
            self._exactness_known = True
        return self._updated(out, images)

    def update(self, out: StepOut, images: Tensor) -> None:
        super().update(out, images)
        if self._due("after_step"):
            self._verify("after_step")

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        if not self._due("predict"):
            return super().predict(images)
        before, shown = _copies(self.moved.items()), images.clone()
        predictions = super().predict(images)
        self._demand(_same(shown, images), "`predict` changes the images in place; copy them first")
        self._demand_equal(before, self.moved, "`predict` changes {}; only updates may change them")
        self._verify("predict")
        return predictions

    def trajectory(
        self, images: Tensor, steps: int, look: Callable[[], None] | None = None
    ) -> Iterator[tuple[int, dict[str, Tensor], dict[str, Tensor]]]:
        for k, predictions, losses in super().trajectory(images, steps, look):
            if not self._exactness_known and k in (0, steps - 1):
                self._verify_exact(images, predictions, f"step {k}")
            yield k, predictions, losses
        self._exactness_known = True

    def _due(self, call: str) -> bool:
        """Return whether this call is verified, and count it."""
        self._calls[call] -= 1
        return self._calls[call] >= 0

    def _verify(self, call: str) -> None:
        """Compare undeclared parameters and the model's buffers with those before."""
        parameters, buffers = dict(self.net.named_parameters()), dict(self.net.named_buffers())
        self._demand_equal(
            self._undeclared,
            parameters,
            f"{{}} changed in or before `{call}`, but `moves` does not declare it",
        )
        replaced = [name for name, own in self.moved.items() if parameters.get(name) is not own]
        self._demand(not replaced, f"`{call}` replaces {listed(replaced)}; change values in place")
        reshaped = sorted(
            name
            for name in self._shapes.keys() | buffers.keys()
            if name not in buffers or buffers[name].shape != self._shapes.get(name)
        )
        if reshaped:
            raise self._late_buffer(reshaped[0])
        self._demand_equal(
            self._fixed_buffers(),
            buffers,
            f"{{}} changed in or before `{call}`, but buffers of the model change only under "
            "Norm.EMA and Norm.ROBUST; keep other state in buffers of the module that `build` "
            "returns",
        )

    def _verify_exact(self, images: Tensor, made: Mapping[str, Tensor], when: str) -> None:
        """Compare a step's predictions with a separate prediction by the same weights."""
        claim = f"claims exact=True, but the predictions of {when}"
        separate = self.separate_prediction(images)
        for task, prediction in separate.items():
            difference = _relative_difference(made[task], prediction)
            self._demand(
                difference <= TOLERANCE,
                f"{claim} differ from a separate prediction by the same weights, {task} by "
                f"{difference:.1%} of its largest value; declare exact=False",
            )

    def _note_buffers(self) -> None:
        """Keep the model's buffers, which are compared with later ones.

        BatchNorm's counters of batches are left out: with a fixed momentum no number depends on
        them, and `Norm.EMA` moves them even under a second set of statistics.
        """
        named = self.net.model.named_buffers(prefix="model")
        self._buffers = _copies(pair for pair in named if not pair[0].endswith("_batches_tracked"))

    def _fixed_buffers(self) -> dict[str, Tensor]:
        """Return those of the kept buffers that the modes used so far leave unchanged."""
        if not self.ctx.norms.moved_statistics:
            return self._buffers
        layers = tuple(f"model.{name}." for name in self.ctx.norms.layers)
        return {
            name: buffer for name, buffer in self._buffers.items() if not name.startswith(layers)
        }

    def _demand_equal(
        self, before: Mapping[str, Tensor], now: Mapping[str, Tensor], otherwise: str
    ) -> None:
        """Raise an error that names the tensors that are missing or changed, if any."""
        changed = [name for name, tensor in before.items() if not _same(tensor, now.get(name))]
        self._demand(not changed, otherwise.format(listed(changed)))

    def _demand(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise ClaimError(f"method {self.adapter.name}, {self._where}: {otherwise}")


def _copies(named: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named}


def _same(one: Tensor, other: Tensor | None) -> bool:
    """Return whether two tensors are equal bit for bit; NaN equals NaN."""
    if other is None or one.shape != other.shape:
        return False
    # a comparison with itself is false for NaN only
    return torch.equal(one, other) or bool(
        ((one == other) | ((one != one) & (other != other))).all()
    )


def _relative_difference(made: Tensor, separate: Tensor) -> float:
    """Return the largest difference, relative to the largest value; 0 if one is not finite."""
    difference = (made.float() - separate.float()).abs().max()
    relative = float(difference / separate.abs().max().float().clamp_min(TINY))
    return relative if relative - relative == 0 else 0.0  # infinity and NaN are recorded elsewhere
