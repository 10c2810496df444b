"""What a part of a cell's batches has measured, and the sum of several parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ttt_bench.adapt.record import Record

_SET_SUMS = "batch_sums."


@dataclass(kw_only=True)
class ShardRecord(Record):
    """The record of consecutive batches, which are measured in order.

    The sums of the set depend on the order of addition in their last digits. So the sums of each
    batch are kept apart, and `merged` adds them in the order of a record of all batches.

    Attributes:
        batch_sums: task -> (steps + 1, T) float64 of every batch so far.
    """

    batch_sums: dict[str, list[NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, steps: slice, values: Mapping[str, Tensor]) -> None:
        for task, value in values.items():
            whole = np.zeros((self.steps + 1, value.shape[-1]))
            whole[steps] = value.cpu().numpy()
            self.batch_sums.setdefault(task, []).append(whole)

    def to_tensors(self) -> dict[str, Tensor]:
        # (steps + 1, T) per batch -> (batches, steps + 1, T)
        sums = {task: torch.from_numpy(np.stack(each)) for task, each in self.batch_sums.items()}
        return super().to_tensors() | {f"{_SET_SUMS}{task}": each for task, each in sums.items()}

    def from_tensors(self, state: Mapping[str, Tensor]) -> None:
        super().from_tensors(state)
        for name, tensor in state.items():
            if name.startswith(_SET_SUMS):
                self.batch_sums[name.removeprefix(_SET_SUMS)] = list(tensor.numpy().copy())


def merged(parts: Iterable[ShardRecord], record: Record) -> Record:
    """Return a record of all batches, equal bit for bit to one that was measured at once.

    Args:
        parts: the records of all shards, in the order of their batches.
        record: an empty record.
    """
    for part in parts:
        _add_part(record, part)
    return record


def _add_part(record: Record, part: ShardRecord) -> None:
    for task, values in part.image_sums.items():
        found = record.image_sums.setdefault(task, np.full_like(values, np.nan))
        # (images,): those of this part
        own = ~np.isnan(values[:, 0, 0])
        found[own] = values[own]
    for task, each in part.batch_sums.items():
        for sums in each:
            record.add(slice(0, record.steps + 1), {task: torch.from_numpy(sums)})
    for name, values in part.signals.items():
        kept = record.signals.setdefault(name, np.full_like(values, np.nan))
        kept[~np.isnan(values)] = values[~np.isnan(values)]
    record.losses.extend(part.losses)
    record.append_examples(part.examples)
