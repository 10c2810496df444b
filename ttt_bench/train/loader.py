"""The order of training images, and the loader that makes batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch.utils.data import DataLoader

from ttt_bench.data.base import Dataset
from ttt_bench.network import Batch
from ttt_bench.train.chain import TrainingStage
from ttt_bench.util.seeding import derive_seed


def sample_indices(
    seed: int, stretch: TrainingStage, iteration: int, images: int, batch: int
) -> list[int]:
    """Which images an iteration sees: consecutive pieces of seeded permutations, the same for
    every method.
    """
    purpose = (stretch.phase.supervised, stretch.first)
    first = iteration * batch
    indices: list[int] = []
    while len(indices) < batch:
        epoch, offset = divmod(first + len(indices), images)
        indices += _permutation(derive_seed(seed, "order", *purpose, epoch), images)[
            offset : offset + batch - len(indices)
        ]
    return indices


@lru_cache(maxsize=2)
def _permutation(seed: int, images: int) -> list[int]:
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed)).tolist()


class _Batches(torch.utils.data.Dataset[Batch]):
    """A data set as PyTorch's loader wants it: whole batches at once."""

    def __init__(
        self, dataset: Dataset, batches: Sequence[Sequence[int]], seeds: Sequence[int] | None
    ) -> None:
        self.dataset, self.batches, self.seeds = dataset, batches, seeds

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        if self.seeds is None:
            return self.dataset.batch(self.batches[number])
        return self.dataset.augmented(self.batches[number], self.seeds[number])


def loader(
    dataset: Dataset,
    batches: Sequence[Sequence[int]],
    workers: int,
    seeds: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """The batches of these indices, in order; made by worker processes where `workers` is not 0.

    With `seeds`, one a batch, they are augmented for training.
    """
    yield from DataLoader(_Batches(dataset, batches, seeds), batch_size=None, num_workers=workers)
