"""What a cell has measured so far: per-image statistics and totals at every step, losses, a few
examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.metrics.scores import task_scores
from ttt_bench.results.store import LOSS_COLUMNS, ROW_COLUMNS, STATISTICS_COLUMNS, TOTALS_COLUMNS
from ttt_bench.tasks import TASKS, canonical

EXAMPLES = 4
_SAVED = ("statistics", "totals", "examples")


@dataclass
class Record:
    """Everything measured in one cell.

    Attributes:
        batches: image indices of every evaluation batch.
        statistics: task -> (images, steps + 1, values) float64, NaN where not measured yet.
        totals: task -> (steps + 1, values) float64, over the images measured so far; tasks that
        have none are missing.
        losses: (batch, step, term, value) in order.
        examples: name -> array, one entry along the first axis an example (see
        `store.read_examples`).
    """

    batches: list[list[int]]
    steps: int
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    totals: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    losses: list[tuple[int, int, str, float]] = field(default_factory=list)
    examples: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def images(self) -> int:
        return sum(len(batch) for batch in self.batches)

    def put(self, images: Sequence[int], steps: slice, values: Mapping[str, Tensor]) -> None:
        """Store statistics; `values`: task -> (steps, images, S) on any device, already finite."""
        for task, value in values.items():
            array = value.cpu().numpy().transpose(1, 0, 2)
            if task not in self.statistics:
                self.statistics[task] = np.full(
                    (self.images, self.steps + 1, array.shape[-1]), np.nan
                )
            self.statistics[task][np.asarray(images), steps] = array

    def add(self, steps: slice, values: Mapping[str, Tensor]) -> None:
        """Add a batch's totals; `values`: task -> (steps, T), or (1, T) for all of them, on any
        device.
        """
        for task, value in values.items():
            array = value.cpu().numpy()
            if task not in self.totals:
                self.totals[task] = np.zeros((self.steps + 1, array.shape[-1]))
            self.totals[task][steps] += array

    def rows(self, identity: Mapping[str, Any], classes: Sequence[str]) -> pd.DataFrame:
        """One row for every step, task, metric and, where the metric has them, class.

        Args:
            identity: fills the other columns.
            classes: the semantic classes' names, in order.
        """
        rows = [
            {
                **identity,
                "step": step,
                "task": task,
                "metric": metric,
                "class": label,
                "value": value,
                "n": self.images,
            }
            for step in range(self.steps + 1)
            for task in canonical(self.statistics)
            for metric, label, value in self._scores(task, step, classes)
        ]
        return pd.DataFrame(rows)[list(ROW_COLUMNS)]

    def _scores(
        self, task: str, step: int, classes: Sequence[str]
    ) -> Iterator[tuple[str, str, float]]:
        """(metric, class, value) of every score."""
        totals = self.totals[task][step] if task in self.totals else None
        found = task_scores(
            task, [self.statistics[task][batch, step] for batch in self.batches], totals
        )
        for metric in TASKS[task].metrics:
            if metric.name in found:
                labels = classes if metric.per_class else ("",)
                for label, value in zip(
                    labels, np.atleast_1d(found[metric.name]).tolist(), strict=True
                ):
                    yield metric.name, label, value

    def statistics_table(self) -> pd.DataFrame:
        """The per-image statistics, one row an image, step and task."""
        rows = [
            (step, number, image, task, values)
            for step in range(self.steps + 1)
            for number, batch in enumerate(self.batches)
            for image in batch
            for task in canonical(self.statistics)
            for values in [self.statistics[task][image, step]]
        ]
        return pd.DataFrame(rows, columns=list(STATISTICS_COLUMNS))

    def totals_table(self) -> pd.DataFrame:
        """The totals, one row a step and task."""
        rows = [
            (step, task, self.totals[task][step])
            for step in range(self.steps + 1)
            for task in canonical(self.totals)
        ]
        return pd.DataFrame(rows, columns=list(TOTALS_COLUMNS))

    def losses_table(self) -> pd.DataFrame:
        """The losses, in order."""
        return pd.DataFrame(self.losses, columns=list(LOSS_COLUMNS))

    def example_indices(self) -> list[int]:
        """A few images, evenly spread over the set."""
        return sorted({int(i) for i in np.linspace(0, self.images - 1, EXAMPLES)})

    def add_examples(
        self,
        indices: Sequence[int],
        images: Tensor,
        truths: Mapping[str, Tensor],
        predictions: Mapping[str, Tensor],
    ) -> None:
        """Keep those of a batch's images that are examples: inputs, targets and scored outputs."""
        wanted = set(self.example_indices())
        places = [place for place, index in enumerate(indices) if index in wanted]
        if not places:
            return
        new = {
            "indices": np.array([indices[place] for place in places]),
            "image": (images[places].permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy(),
        }
        for task, truth in truths.items():
            new[f"truth_{task}"] = _displayed(task, truth[places])
            prediction = predictions[task][places]
            new[f"prediction_{task}"] = _displayed(
                task, prediction.argmax(1) if task == "semseg" else prediction
            )
        for name, array in new.items():
            self.examples[name] = (
                np.concatenate([self.examples[name], array]) if name in self.examples else array
            )

    def to_tensors(self) -> dict[str, Tensor]:
        """For saving in mid-cell."""
        return {
            f"{kind}.{key}": torch.from_numpy(array)
            for kind in _SAVED
            for key, array in getattr(self, kind).items()
        }

    def from_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `to_tensors` saved."""
        for name, tensor in state.items():
            kind, _, key = name.partition(".")
            if kind in _SAVED:
                getattr(self, kind)[key] = tensor.numpy().copy()


def _displayed(task: str, values: Tensor) -> NDArray[Any]:
    if task == "semseg":
        return values.to(torch.uint8).cpu().numpy()
    if task == "normals":
        # an ignored pixel (255 in every channel) stays what it is
        ignored = (values == 255).all(dim=1, keepdim=True)
        unit = torch.nn.functional.normalize(values, dim=1)
        return torch.where(ignored, values, unit).half().cpu().numpy()
    return values[:, 0].half().cpu().numpy()
