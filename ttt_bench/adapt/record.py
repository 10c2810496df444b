"""Everything that one cell has measured so far."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.metrics.base import metrics_of
from ttt_bench.metrics.measure.base import measurement_of
from ttt_bench.network import Batch
from ttt_bench.results.schema import (
    LOSS_COLUMNS,
    ROW_COLUMNS,
    SIGNAL_COLUMNS,
    SIGNALS,
    STATISTICS_COLUMNS,
    TOTALS_COLUMNS,
)
from ttt_bench.tasks import canonical, class_names

EXAMPLES = 4
"""Largest number of example images of a cell."""

EXAMPLE_STEPS = (0, 1, 5)
"""Steps whose predictions of the example images are kept, in addition to the last one."""

_SAVED = ("image_sums", "set_sums", "signals", "examples")


@dataclass(kw_only=True)
class Record:
    """Everything that one cell has measured so far.

    Attributes:
        batches: image indices of every evaluation batch.
        steps: number of adaptation steps.
        image_sums: task -> (images, steps + 1, S) float64, the sufficient statistics of every
            image; NaN if not measured yet.
        set_sums: task -> (steps + 1, T) float64, counts and sums over the images measured so far;
            tasks without such sums are missing.
        signals: `<signal>.<task>` -> (batches, steps + 1) float64; NaN if not measured.
        losses: (batch, step, term, value) in order.
        examples: name -> array with one entry per example along the first axis (see
            `store.read_examples`).
    """

    batches: list[list[int]]
    steps: int
    image_sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    set_sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    signals: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    losses: list[tuple[int, int, str, float]] = field(default_factory=list)
    examples: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of target images."""
        return sum(len(batch) for batch in self.batches)

    def put(self, images: Sequence[int], steps: slice, values: Mapping[str, Tensor]) -> None:
        """Store image sums of a batch.

        Args:
            images: indices of the batch's images.
            steps: the steps they were measured at.
            values: task -> (steps, images, S) on any device, finite.
        """
        for task, value in values.items():
            # (steps, images, S) -> (images, steps, S)
            array = value.cpu().numpy().transpose(1, 0, 2)
            if task not in self.image_sums:
                shape = (self.images, self.steps + 1, array.shape[-1])
                self.image_sums[task] = np.full(shape, np.nan)
            self.image_sums[task][np.asarray(images), steps] = array

    def add(self, steps: slice, values: Mapping[str, Tensor]) -> None:
        """Add a batch's sums to those of the set; `values`: task -> (steps, T) on any device."""
        for task, value in values.items():
            array = value.cpu().numpy()
            if task not in self.set_sums:
                self.set_sums[task] = np.zeros((self.steps + 1, array.shape[-1]))
            self.set_sums[task][steps] += array

    def put_signal(self, name: str, number: int, first: int, values: NDArray[np.float64]) -> None:
        """Store a signal of batch `number` at the steps from `first` on."""
        if name not in self.signals:
            self.signals[name] = np.full((len(self.batches), self.steps + 1), np.nan)
        self.signals[name][number, first : first + len(values)] = values

    def repeat_first_step(self) -> None:
        """Copy the sums of step 0 to every later step."""
        for values in self.image_sums.values():
            values[:, 1:] = values[:, :1]
        for values in self.set_sums.values():
            values[1:] = values[:1]

    def rows(self, identity: Mapping[str, Any], classes: Sequence[str]) -> pd.DataFrame:
        """Return one row per step, task, metric and, for a per-class metric, class.

        Args:
            identity: fills the other columns.
            classes: the names of the label space's classes, in order.
        """
        rows = [
            {**identity, **score, "step": step, "task": task, "n": self.images}
            for step in range(self.steps + 1)
            for task in canonical(self.image_sums)
            for score in self._scores(task, step, classes)
        ]
        return pd.DataFrame(rows)[list(ROW_COLUMNS)]

    def primary_scores(self, step: int) -> dict[str, float]:
        """Return task -> primary score at a step, units as in the rows."""
        return {task: metrics_of(task).score(self._groups(task, step)) for task in self.image_sums}

    def _groups(self, task: str, step: int) -> list[NDArray[np.float64]]:
        """Return the image sums of each evaluation batch, (B, S)."""
        return [self.image_sums[task][batch, step] for batch in self.batches]

    def _scores(self, task: str, step: int, classes: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield `metric`, `class` and `value` of every score."""
        set_sums = self.set_sums[task][step] if task in self.set_sums else None
        found = metrics_of(task).scores(self._groups(task, step), set_sums)
        for metric in metrics_of(task).metrics:
            if metric.name in found:
                labels = class_names(task, classes) if metric.per_class else ("",)
                values = np.atleast_1d(found[metric.name]).tolist()
                for label, value in zip(labels, values, strict=True):
                    yield {"metric": metric.name, "class": label, "value": value}

    def statistics_table(self) -> pd.DataFrame:
        """Return the image sums, one row per task, image and step.

        In this order similar values follow each other, so that the file is smaller.
        """
        places = [(number, image) for number, batch in enumerate(self.batches) for image in batch]
        rows = [
            (step, number, image, task, self.image_sums[task][image, step])
            for task in canonical(self.image_sums)
            for number, image in places
            for step in range(self.steps + 1)
        ]
        return pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))

    def totals_table(self) -> pd.DataFrame:
        """Return the sums of the set, one row per step and task."""
        rows = [
            (step, task, self.set_sums[task][step])
            for step in range(self.steps + 1)
            for task in canonical(self.set_sums)
        ]
        return pd.DataFrame(rows, columns=list(TOTALS_COLUMNS))

    def signals_table(self) -> pd.DataFrame:
        """Return the signals, one row per task, signal, batch and step that was measured."""
        names = [(task, signal) for task in canonical(self.image_sums) for signal in SIGNALS]
        rows = [
            (int(step), int(number), task, signal, values[number, step])
            for task, signal in names
            if (values := self.signals.get(f"{signal}.{task}")) is not None
            for number, step in np.argwhere(~np.isnan(values))
        ]
        return pd.DataFrame(rows, columns=list(SIGNAL_COLUMNS))

    def losses_table(self) -> pd.DataFrame:
        """Return the losses, one row per batch, step and term, in order."""
        return pd.DataFrame(self.losses, columns=list(LOSS_COLUMNS))

    def example_indices(self) -> list[int]:
        """Return the indices of a few images, evenly spread over the set."""
        return sorted({int(i) for i in np.linspace(0, self.images - 1, EXAMPLES)})

    def example_steps(self) -> list[int]:
        """Return the steps whose predictions of the example images are kept."""
        return sorted({min(step, self.steps) for step in (*EXAMPLE_STEPS, self.steps)})

    def add_examples(self, indices: Sequence[int], data: Batch) -> None:
        """Keep inputs and targets of those images of a batch that are examples.

        Args:
            indices: indices of the batch's images.
            data: images (B, 3, H, W) in [0, 1], and task -> target.
        """
        places = self._example_places(indices)
        if not places:
            return
        new: dict[str, NDArray[Any]] = {
            "indices": np.array([indices[place] for place in places]),
            # (n, 3, H, W) -> (n, H, W, 3)
            "image": (data.images[places].permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy(),
        }
        for task, truth in data.targets.items():
            new[f"truth_{task}"] = measurement_of(task).shown_truth(truth[places])
        self.append_examples(new)

    def add_example_predictions(
        self, indices: Sequence[int], step: int, predictions: Mapping[str, Tensor]
    ) -> None:
        """Keep predictions of those images of a batch that are examples.

        Args:
            indices: indices of the batch's images.
            step: the step of the predictions.
            predictions: task -> (B, K, H, W), after the scoring transform.
        """
        places = self._example_places(indices)
        if places:
            self.append_examples(
                {
                    f"prediction_{task}_{step}": measurement_of(task).shown_prediction(own[places])
                    for task, own in predictions.items()
                }
            )

    def _example_places(self, indices: Sequence[int]) -> list[int]:
        """Return the positions of the example images in a batch."""
        wanted = set(self.example_indices())
        return [place for place, index in enumerate(indices) if index in wanted]

    def append_examples(self, new: Mapping[str, NDArray[Any]]) -> None:
        """Append example images; see `examples`."""
        for name, array in new.items():
            self.examples[name] = (
                np.concatenate([self.examples[name], array]) if name in self.examples else array
            )

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the record but for the losses as flat tensors, to save an unfinished cell."""
        return {
            f"{kind}.{key}": torch.from_numpy(array)
            for kind in _SAVED
            for key, array in getattr(self, kind).items()
        }

    def from_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `to_tensors` returned."""
        for name, tensor in state.items():
            kind, _, key = name.partition(".")
            if kind in _SAVED:
                getattr(self, kind)[key] = tensor.numpy().copy()
