"""A target set that one session adapts to and that is scored under a protocol."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ttt_bench.adapt.record import Record
from ttt_bench.adapt.run_progress import RunProgress
from ttt_bench.adapt.session import Session
from ttt_bench.adapt.signals import SignalMeter
from ttt_bench.data.base import Dataset
from ttt_bench.errors import DivergedError
from ttt_bench.metrics.base import Scoring
from ttt_bench.metrics.measure.base import measurement_of
from ttt_bench.network import Batch
from ttt_bench.protocols import Actions, Protocol
from ttt_bench.util.process import watched


class _Scored(NamedTuple):
    """The scored predictions of a batch, and what is measured of them.

    Attributes:
        predictions: task -> (B, K, H, W), after the scoring transform.
        image_sums: task -> (B, S).
        set_sums: task -> (T,), what the batch adds to the sums of the set.
    """

    predictions: dict[str, Tensor]
    image_sums: dict[str, Tensor]
    set_sums: dict[str, Tensor]


@dataclass(kw_only=True)
class ProtocolRun(Actions):
    """A target set that is adapted to and scored.

    Attributes:
        session: the method on its network.
        dataset: the target.
        tasks: the pair's tasks; the data set may have targets of more.
        scoring: how outputs are scored on the target.
        record: filled with everything that is measured.
        device: where the network is.
        progress: shows and saves the run.
        keep_examples: whether example images may be stored (embedded domains only).
        stop: the batch before which the run ends; None to run all of them.
        agreement: whether the agreement with predictions of mirror images is measured, which costs
            one forward pass per step.
    """

    session: Session
    dataset: Dataset
    tasks: Collection[str]
    scoring: Scoring
    record: Record
    device: torch.device
    progress: RunProgress = field(default_factory=RunProgress)
    keep_examples: bool = False
    agreement: bool = False
    stop: int | None = None
    _number: int = field(default=0, init=False)
    _images: Tensor = field(default_factory=lambda: torch.empty(0), init=False)

    def __post_init__(self) -> None:
        self.batches = len(self.record.batches) if self.stop is None else self.stop
        self.steps = self.record.steps
        self.adapts = bool(self.session.moved)
        self._meter = SignalMeter(self._predicted_aside if self.agreement else None)

    def run(self, protocol: Protocol, start: int = 0) -> None:
        """Measure the cell from unit `start` of the protocol on.

        Raises:
            DivergedError: a loss or a prediction is not finite.
        """
        total, done = protocol.scored_batches(self), protocol.scored_batches(self, start)
        with self.progress.shown(total, done):
            protocol.run(self, start)

    def batch(self, indices: list[int]) -> Batch:
        """Return these target images with the targets of the pair's tasks, on the device."""
        return self._on_device(self.dataset.batch(indices))

    def _on_device(self, batch: Batch) -> Batch:
        targets = {task: batch.targets[task] for task in self.tasks}
        return Batch(batch.images, targets).to(self.device)

    def _placed(self, indices: list[int]) -> tuple[Batch, Tensor | None]:
        """Return `batch`, and where its pixels are not padding, as `PlacedBatch.valid` does."""
        placed = self.dataset.placed(indices)
        valid = placed.valid()
        return self._on_device(placed.batch), None if valid is None else valid.to(self.device)

    def reset(self) -> None:
        self.session.reset()

    def adapt_and_score(self, batch: int) -> None:
        indices = self.record.batches[batch]
        data, valid = self._placed(indices)
        with self._watched():
            self.session.begin_batch(batch, data.images, valid)
            shown = self._trajectory(batch, data) if self.adapts else self._still(batch, data)
        if self.keep_examples:
            self.record.add_examples(indices, data)
            for step, predictions in shown.items():
                self._keep_predictions(indices, step, predictions)
        self.progress.advance()

    def _watched(self) -> AbstractContextManager[None]:
        return watched(f"adapting with method {self.session.adapter.name}")

    def _still(self, number: int, data: Batch) -> dict[int, dict[str, Tensor]]:
        """Score a batch once for all steps, since nothing moves, and return its predictions.

        They have step 0: a step without own predictions has those of the step before it.
        """
        self._meter.begin()
        self._meter.look(data.images)
        scored = self._score(self.session.predict(data.images), data.targets)
        self._keep_scores(number, 0, [scored] * (self.steps + 1))
        first = self._signals(scored.predictions)
        self._keep_signals(number, 0, [first] + [self._meter.repeated()] * self.steps)
        return {0: scored.predictions}

    def _trajectory(self, number: int, data: Batch) -> dict[int, dict[str, Tensor]]:
        """Adapt on a batch, record its scores and losses, and return predictions by step.

        Only predictions of the steps that examples show are kept in memory.
        """
        shown = self.record.example_steps() if self.keep_examples else []
        kept: dict[int, dict[str, Tensor]] = {}
        found: list[_Scored] = []
        losses: list[dict[str, Tensor]] = []
        signals: list[dict[str, Tensor]] = []
        self._meter.begin()
        look = partial(self._meter.look, data.images)
        for step, outputs, step_losses in self.session.trajectory(data.images, self.steps, look):
            scored = self._score(outputs, data.targets)
            if step in shown:
                kept[step] = scored.predictions
            found.append(scored._replace(predictions={}))
            losses.append(step_losses)
            signals.append(self._signals(scored.predictions))
        self.session.end_batch(data.images)
        self._keep_losses(number, 0, losses[:-1])
        self._keep_scores(number, 0, found)
        self._keep_signals(number, 0, signals)
        return kept

    def begin(self, batch: int) -> None:
        valid = self._take(batch)
        with self._watched():
            self.session.begin_batch(batch, self._images, valid)

    def resume(self, batch: int) -> None:
        self.session.resume_batch(batch, self._take(batch))
        with self._watched():
            # the change of the next step is measured against these
            self._meter.look(self._images)
            self._signals(self._predicted_aside(self._images))

    def _take(self, batch: int) -> Tensor | None:
        """Take a batch, and return where its pixels are not padding."""
        self._number = batch
        self._meter.begin()
        data, valid = self._placed(self.record.batches[batch])
        self._images = data.images
        return valid

    def adapt(self, step: int) -> None:
        with self._watched():
            losses = self.session.adapt(self._images)
        self._keep_losses(self._number, step - 1, [losses])

    def end(self) -> None:
        with self._watched():
            self.session.end_batch(self._images)

    def score_target(self, step: int) -> None:
        shown = self.keep_examples and step in self.record.example_steps()
        for number, indices in enumerate(self.record.batches):
            data = self.batch(indices)
            adapted_on = number == self._number
            with self._watched():
                if adapted_on:
                    self._meter.look(data.images)
                outputs = self.session.predict(data.images)
            scored = self._score(outputs, data.targets)
            self._keep_scores(number, step, [scored])
            if adapted_on:
                self._keep_signals(number, step, [self._signals(scored.predictions)])
            if shown and step == 0:
                self.record.add_examples(indices, data)
            if shown:
                self._keep_predictions(indices, step, scored.predictions)
            self.progress.advance()

    def _keep_predictions(
        self, indices: list[int], step: int, predictions: dict[str, Tensor]
    ) -> None:
        own = {task: predictions[task] for task in self.tasks}
        self.record.add_example_predictions(indices, step, own)

    def repeat_scores(self) -> None:
        self.record.repeat_first_step()
        self._keep_signals(self._number, 1, [self._meter.repeated()] * self.steps)

    def finish(self, unit: int) -> None:
        self.progress.finish(unit)

    def _score(self, outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> _Scored:
        # measured in full precision, whatever the precision that the method predicts in
        outputs = {task: output.float() for task, output in outputs.items()}
        predictions = self.scoring.apply(outputs)
        image_sums, set_sums = {}, {}
        for task, target in targets.items():
            measured = measurement_of(task).measure(predictions[task], target, self.scoring)
            # a class index, a sigmoid or a clamp hides a number that is not finite; 0 x infinity
            # does not, and a sum of zeros cannot overflow: (B, K, H, W) -> (B, 1)
            hidden = (outputs[task] * 0).flatten(1).sum(1, keepdim=True)
            image_sums[task] = measured.image_sums + hidden
            if measured.set_sums is not None:
                set_sums[task] = measured.set_sums
        return _Scored(predictions, image_sums, set_sums)

    def _keep_scores(self, number: int, first: int, found: list[_Scored]) -> None:
        """Record a batch's scores at the steps from `first` on."""
        steps = slice(first, first + len(found))
        image_sums = _by_task([one.image_sums for one in found])
        set_sums = _by_task([one.set_sums for one in found])
        _check_finite(number, first, image_sums)
        self.record.put(self.record.batches[number], steps, image_sums)
        self.record.add(steps, set_sums)

    def _predicted_aside(self, images: Tensor) -> dict[str, Tensor]:
        """Return scored predictions of images; no later number depends on the call."""
        outputs = self.session.separate_prediction(images)
        return self.scoring.apply({task: outputs[task].float() for task in self.tasks})

    def _signals(self, predictions: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the signals of a step's scored predictions."""
        return self._meter.measure({task: predictions[task] for task in self.tasks})

    def _keep_signals(self, number: int, first: int, found: list[dict[str, Tensor]]) -> None:
        """Record a batch's signals at the steps from `first` on."""
        # (steps, signals); one transfer per batch, not one per step
        values = torch.stack([torch.stack(list(signals.values())) for signals in found]).cpu()
        for name, column in zip(found[0], values.numpy().T, strict=True):
            self.record.put_signal(name, number, first, column)

    def _keep_losses(self, number: int, first: int, losses: list[dict[str, Tensor]]) -> None:
        """Record the losses of a batch at the steps from `first` on."""
        if not losses:
            return
        # the terms may differ from step to step
        names = [(step, term) for step, terms in enumerate(losses, start=first) for term in terms]
        # (terms of all steps,); one transfer per batch, not one per step
        values = torch.stack([loss for terms in losses for loss in terms.values()]).cpu()
        for (step, term), value in zip(names, values.tolist(), strict=True):
            if value - value != 0:
                raise DivergedError(
                    f"loss {term!r} is not finite at step {step} of batch {number}", step
                )
            self.record.losses.append((number, step, term, value))


def _by_task(steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return task -> (steps, ...) of one task -> (...) per step."""
    found = {}
    for task in steps[0]:
        # (...) per step -> (steps, ...)
        found[task] = torch.stack([step[task] for step in steps])
    return found


def _check_finite(number: int, first: int, image_sums: dict[str, Tensor]) -> None:
    for task, values in image_sums.items():
        # (steps, B, S) -> (steps,)
        finite = torch.isfinite(values).all(dim=2).all(dim=1).cpu()
        if not finite.all():
            step = first + int((~finite).nonzero()[0])
            raise DivergedError(
                f"the prediction of {task} is not finite at step {step} of batch {number}", step
            )
