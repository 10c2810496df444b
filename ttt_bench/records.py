"""What a cell has measured so far: per-image statistics at every step, losses, a few examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.scores import task_score
from ttt_bench.store import LOSS_COLUMNS, ROW_COLUMNS, STATISTICS_COLUMNS
from ttt_bench.tasks import TASKS, canonical

EXAMPLES = 4


def split_batches(images: int, size: int) -> list[list[int]]:
    """Consecutive indices in batches; a last batch of one image joins the one before it.

    >>> split_batches(9, 4)
    [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    """
    batches = [list(range(start, min(start + size, images))) for start in range(0, images, size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        last = batches.pop()
        batches[-1] += last
    return batches


@dataclass
class Record:
    """Everything measured in one cell.

    Attributes:
        batches: image indices of every evaluation batch.
        statistics: task -> (images, steps + 1, values) float64, NaN where not measured yet.
        losses: (batch, step, term, value) in order.
        examples: name -> array, one entry along the first axis an example (see `store.read_examples`).
    """

    batches: list[list[int]]
    steps: int
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
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
                self.statistics[task] = np.full((self.images, self.steps + 1, array.shape[-1]), np.nan)
            self.statistics[task][np.asarray(images), steps] = array

    def rows(self, identity: Mapping[str, Any]) -> pd.DataFrame:
        """One row for every step, task and metric; `identity` fills the other columns."""
        rows = [
            {
                **identity,
                "step": step,
                "task": task,
                "metric": TASKS[task].metric,
                "value": task_score(task, [self.statistics[task][batch, step] for batch in self.batches]),
                "n": self.images,
            }
            for step in range(self.steps + 1)
            for task in canonical(self.statistics)
        ]
        return pd.DataFrame(rows)[list(ROW_COLUMNS)]

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

    def losses_table(self) -> pd.DataFrame:
        """The losses, in order."""
        return pd.DataFrame(self.losses, columns=list(LOSS_COLUMNS))

    def example_indices(self) -> list[int]:
        """A few images, evenly spread over the set."""
        return sorted({int(i) for i in np.linspace(0, self.images - 1, EXAMPLES)})

    def add_examples(
        self, indices: Sequence[int], images: Tensor, truths: Mapping[str, Tensor], predictions: Mapping[str, Tensor]
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
            new[f"prediction_{task}"] = _displayed(task, prediction.argmax(1) if task == "semseg" else prediction)
        for name, array in new.items():
            self.examples[name] = np.concatenate([self.examples[name], array]) if name in self.examples else array

    def to_tensors(self) -> dict[str, Tensor]:
        """For saving in mid-cell."""
        state = {f"statistics.{task}": torch.from_numpy(array) for task, array in self.statistics.items()}
        return state | {f"examples.{name}": torch.from_numpy(array) for name, array in self.examples.items()}

    def from_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `to_tensors` saved."""
        for name, tensor in state.items():
            kind, _, key = name.partition(".")
            if kind in ("statistics", "examples"):
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
