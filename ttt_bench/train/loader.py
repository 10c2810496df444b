"""The order of training images, and the loader that makes batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import torch
from torch.utils.data import DataLoader

from ttt_bench.data.base import Dataset
from ttt_bench.network import Batch
from ttt_bench.train.chain import SourceSpec, TrainingStage
from ttt_bench.train.worker_error import WorkerError
from ttt_bench.util.seeding import derive_seed


def sample_indices(
    seed: int, stage: TrainingStage, iteration: int, images: int, batch: int
) -> list[int]:
    """Return the images of one iteration's batch, which are the same for every method.

    The batches are consecutive pieces of seeded permutations, one permutation per epoch.

    Args:
        seed: the seed of the source training.
        stage: the stage; the shared, the supervised and the unsupervised ones differ in order.
        iteration: number of the iteration, from 0.
        images: number of images in the data set.
        batch: number of images per batch.
    """
    purpose = (stage.phase.supervised, stage.first)
    first = iteration * batch
    indices: list[int] = []
    while len(indices) < batch:
        epoch, offset = divmod(first + len(indices), images)
        order = _permutation(derive_seed(seed, "order", *purpose, epoch), images)
        indices += order[offset : offset + batch - len(indices)]
    return indices


@lru_cache(maxsize=2)
def _permutation(seed: int, images: int) -> list[int]:
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed)).tolist()


def training_batches(
    dataset: Dataset, spec: SourceSpec, stage: TrainingStage, *, start: int = 0, workers: int = 0
) -> Iterator[Batch]:
    """Return the batches of a stage from iteration `start` on, augmented if the settings say so."""
    iterations = range(start, stage.iterations)
    batches = [
        sample_indices(spec.seed, stage, i, len(dataset), spec.training.batch) for i in iterations
    ]
    seeds = [derive_seed(spec.seed, stage.first, i, "flip") for i in iterations]
    return loader(dataset, batches, workers, seeds if spec.training.flip else None)


class _Batches(torch.utils.data.Dataset[Batch | WorkerError]):
    """Whole batches of a data set, as items of PyTorch's loader."""

    def __init__(
        self, dataset: Dataset, batches: Sequence[Sequence[int]], seeds: Sequence[int] | None
    ) -> None:
        self.dataset, self.batches, self.seeds = dataset, batches, seeds

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch | WorkerError:
        if torch.utils.data.get_worker_info() is None:
            return self._read(number)
        try:
            return self._read(number)
        except Exception as error:  # a data set of another package may raise anything
            return WorkerError.of(error)

    def _read(self, number: int) -> Batch:
        if self.seeds is None:
            return self.dataset.batch(self.batches[number])
        return self.dataset.augmented(self.batches[number], self.seeds[number])


def loader(
    dataset: Dataset,
    batches: Sequence[Sequence[int]],
    workers: int,
    seeds: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Yield the batches of these indices in order.

    Args:
        dataset: the data set.
        batches: image indices of every batch.
        workers: number of worker processes; 0 reads in this process.
        seeds: one seed per batch, to augment the batches for training; None for no augmentation.

    Raises:
        DataError: a worker process met damaged data.
        BenchError: another error in a worker process.
    """
    items = DataLoader(_Batches(dataset, batches, seeds), batch_size=None, num_workers=workers)
    for item in items:
        if isinstance(item, WorkerError):
            raise item.error()
        yield item
