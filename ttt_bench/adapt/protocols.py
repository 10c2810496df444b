"""The protocols: when a network is reset, what it adapts on, and what is scored when.

* online: one pass over the target, never reset; at each batch adapt N steps and score it.
* episodic: reset before each batch, adapt N steps on it, score it; batches are independent.
* single-batch: adapt on the first batch only, score the whole target at every step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ttt_bench.adapt.record import Record
from ttt_bench.adapt.session import Session
from ttt_bench.data.base import Dataset
from ttt_bench.errors import DivergedError
from ttt_bench.metrics.statistics import Scoring, measure
from ttt_bench.network import Batch
from ttt_bench.util.progress import Bar

DESCRIPTIONS = {
    "online": "one pass over the target, never reset; adapts N steps on each batch and scores it",
    "episodic": "reset before each batch, adapts N steps on it and scores it",
    "single-batch": "adapts N steps on the first batch only and scores the whole target at every step",
}
SAVE_SECONDS = 60.0


class _Scored(NamedTuple):
    """A batch's predictions as they are scored, task -> (B, K, H, W), and what is measured of them.

    The statistics are task -> (B, S), what they add to the totals is task -> (T,).
    """

    predictions: dict[str, Tensor]
    statistics: dict[str, Tensor]
    totals: dict[str, Tensor]


@dataclass
class ProtocolRun:
    """A target set being adapted to and scored.

    Attributes:
        tasks: the pair's tasks; a data set may have targets of more.
        save: called with the next unit of work (a batch; a step under single-batch) when it is time
        to save.
        keep_examples: whether example images may be stored (embedded domains only).
    """

    session: Session
    dataset: Dataset
    tasks: Collection[str]
    scoring: Scoring
    record: Record
    device: torch.device
    save: Callable[[int], None]
    bar: Bar
    keep_examples: bool
    save_seconds: float = SAVE_SECONDS

    def run(self, protocol: str, start: int = 0) -> None:
        """Measure the cell from unit `start` on.

        Raises:
            DivergedError: a loss or a prediction is not finite.
        """
        if protocol == "single-batch":
            self._single_batch(start)
        else:
            self._batch_by_batch(start, reset=protocol == "episodic")

    def _batch_by_batch(self, start: int, reset: bool) -> None:
        saved = time.monotonic()
        for number in range(start, len(self.record.batches)):
            if reset:
                self.session.reset()
            self._adapt_and_score(number)
            self.bar.advance()
            if time.monotonic() - saved > self.save_seconds:
                self.save(number + 1)
                saved = time.monotonic()

    def _adapt_and_score(self, number: int) -> None:
        session, steps = self.session, self.record.steps
        indices = self.record.batches[number]
        batch = self._batch(indices)
        session.begin_batch(number, batch.images)
        found: list[_Scored] = []
        losses: list[dict[str, Tensor]] = []
        if session.moved:
            for _, predictions, step_losses in session.trajectory(batch.images, steps):
                scored = self._score(predictions, batch.targets)
                # all but the last step's predictions can go
                found.append(scored._replace(predictions={}))
                losses.append(step_losses)
            session.end_batch(batch.images)
        else:
            # nothing moves, so one forward pass is the whole trajectory
            scored = self._score(session.predict(batch.images), batch.targets)
            found = [scored] * (steps + 1)
        self._keep_losses(number, losses[:-1])
        self._keep_scores(number, slice(None), found)
        if self.keep_examples:
            self.record.add_examples(indices, batch.images, batch.targets, scored.predictions)

    def _single_batch(self, start: int) -> None:
        session, record = self.session, self.record
        first = self.dataset.batch(record.batches[0]).images.to(self.device)
        if start == 0:
            session.begin_batch(0, first)
        saved = time.monotonic()
        for step in range(start, record.steps + 1):
            if step > 0 and session.moved:
                self._keep_losses(0, [session.adapt(first)], step - 1)
            if step == 0 or session.moved:
                self._score_everything(step)
            else:
                for values in record.statistics.values():
                    values[:, step] = values[:, 0]
                for values in record.totals.values():
                    values[step] = values[0]
            if session.moved and time.monotonic() - saved > self.save_seconds:
                self.save(step + 1)
                saved = time.monotonic()
        if session.moved:
            session.end_batch(first)

    def _score_everything(self, step: int) -> None:
        last = step == self.record.steps or not self.session.moved
        for number, indices in enumerate(self.record.batches):
            batch = self._batch(indices)
            scored = self._score(self.session.predict(batch.images), batch.targets)
            self._keep_scores(number, slice(step, step + 1), [scored])
            if last and self.keep_examples:
                self.record.add_examples(indices, batch.images, batch.targets, scored.predictions)
            self.bar.advance()

    def _batch(self, indices: list[int]) -> Batch:
        batch = self.dataset.batch(indices)
        return Batch(batch.images, {task: batch.targets[task] for task in self.tasks}).to(
            self.device
        )

    def _score(self, predictions: dict[str, Tensor], targets: dict[str, Tensor]) -> _Scored:
        applied = self.scoring.apply(predictions)
        statistics, totals = {}, {}
        for task, target in targets.items():
            measured = measure(task, applied[task], target, self.scoring)
            # a class index, a sigmoid or a clamp hides a number that is not finite; 0 x infinity
            # does not
            hidden = predictions[task].flatten(1).sum(1, keepdim=True) * 0
            statistics[task] = measured.statistics + hidden
            if measured.totals is not None:
                totals[task] = measured.totals
        return _Scored(applied, statistics, totals)

    def _keep_scores(self, number: int, steps: slice, found: list[_Scored]) -> None:
        """Record a batch's scores of these steps."""
        statistics = {
            task: torch.stack([one.statistics[task] for one in found])
            for task in found[0].statistics
        }
        self._check(number, statistics, steps.start or 0)
        self.record.put(self.record.batches[number], steps, statistics)
        self.record.add(
            steps,
            {task: torch.stack([one.totals[task] for one in found]) for task in found[0].totals},
        )

    def _keep_losses(self, number: int, losses: list[dict[str, Tensor]], first: int = 0) -> None:
        if not losses:
            return
        # one transfer a batch, not one a step
        values = torch.stack([torch.stack(list(step.values())) for step in losses]).cpu()
        for step, row in enumerate(values.tolist(), start=first):
            for term, value in zip(losses[0], row, strict=True):
                if value - value != 0:
                    raise DivergedError(
                        f"loss {term!r} is not finite at step {step} of batch {number}", step
                    )
                self.record.losses.append((number, step, term, value))

    def _check(self, number: int, found: dict[str, Tensor], first: int) -> None:
        for task, values in found.items():
            finite = torch.isfinite(values).all(dim=2).all(dim=1).cpu()
            if not finite.all():
                step = first + int((~finite).nonzero()[0])
                raise DivergedError(
                    f"the prediction of {task} is not finite at step {step} of batch {number}", step
                )
