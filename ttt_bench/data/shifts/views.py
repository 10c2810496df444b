"""Data sets that change another one: shifted images, another order, other class indices."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from ttt_bench.data.base import Dataset, PlacedBatch
from ttt_bench.data.shifts import corruptions
from ttt_bench.data.shifts.kinds import Shift
from ttt_bench.data.shifts.streams import Position, Stream, stream_positions
from ttt_bench.network import Batch
from ttt_bench.util.hashing import hash_of, hash_source
from ttt_bench.util.progress import Progress
from ttt_bench.util.seeding import derive_seed

_AREA = "picture without padding"
"""What shifts change; part of the fingerprint."""


def shift_image(
    image: Tensor, shifts: Sequence[Shift], seed: int, index: int, done: int = 0
) -> Tensor:
    """Return an image under shifts, applied in order.

    Randomness depends on the seed, the image's index, the shift's name and its number in the order.
    It does not depend on the strength: twice the strength of noise is the same noise, doubled.

    Args:
        image: (3, H, W) float32 in [0, 1]; it is not changed.
        index: the image's index in its data set.
        done: number of shifts that were applied to the image before.
    """
    for place, shift in enumerate(shifts, start=done):
        generator = Generator().manual_seed(derive_seed("shift", seed, place, shift.name, index))
        image = corruptions.corrupt(image, shift, generator)
    return image


class WrappedDataset(Dataset):
    """Base of data sets that change the images, targets or order of another one."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.domain, self.size, self.tasks = dataset.domain, dataset.size, dataset.tasks
        self.fingerprint, self.notices = dataset.fingerprint, dataset.notices
        self.basis, self.contents = dataset.basis, dataset.contents

    def batch(self, indices: Sequence[int]) -> Batch:
        return self.placed(indices).batch

    @abstractmethod
    def placed(self, indices: Sequence[int]) -> PlacedBatch: ...

    def name(self, index: int) -> str:
        return self._dataset.name(index)

    def ids(self) -> frozenset[str]:
        return self._dataset.ids()

    def prepare(self, progress: Progress) -> None:
        self._dataset.prepare(progress)


class RelabelledDataset(WrappedDataset):
    """A data set with other class indices.

    Args:
        table: (256,), the new index of each class, 255 for none.
        record: JSON-like values that the table follows from, for the fingerprint.
    """

    def __init__(self, dataset: Dataset, table: NDArray[np.uint8], record: object) -> None:
        super().__init__(dataset)
        self._table = torch.from_numpy(table.astype(np.int64))
        self.fingerprint = hash_of([dataset.fingerprint, record], length=16)

    def __len__(self) -> int:
        return len(self._dataset)

    def placed(self, indices: Sequence[int]) -> PlacedBatch:
        batch, areas = self._dataset.placed(indices)
        targets = {**batch.targets, "semseg": self._table[batch.targets["semseg"]]}
        return PlacedBatch(Batch(batch.images, targets), areas)


class ShiftedDataset(WrappedDataset):
    """A data set with shifted images and unchanged targets.

    Args:
        shifts: at least one; they are applied in this order.
        seed: seed of their randomness.
    """

    def __init__(self, dataset: Dataset, shifts: Sequence[Shift], seed: int) -> None:
        super().__init__(dataset)
        self.shifts, self._seed = tuple(shifts), seed
        self.domain = "+".join([dataset.domain, *map(str, self.shifts)])
        self.fingerprint = hash_of([dataset.fingerprint, _content(self.shifts), seed], length=16)
        self.notices = (
            *dataset.notices,
            f"{dataset.domain}: the images are shifted, the labels are not: "
            + "; then ".join(shift.words for shift in self.shifts),
        )

    def __len__(self) -> int:
        return len(self._dataset)

    def placed(self, indices: Sequence[int]) -> PlacedBatch:
        placed = self._dataset.placed(indices)
        pictures = zip(_pictures(placed), indices, strict=True)
        shifted = [shift_image(image, self.shifts, self._seed, index) for image, index in pictures]
        return _with_pictures(placed, shifted)


class StreamedDataset(WrappedDataset):
    """A data set in a stream's order and under its shifts.

    Indices of this data set are positions of the stream.

    Attributes:
        stream: the stream; its `names` are those of the segments.
        positions: the image's index in the data set and the segment's number, per position.

    Args:
        seed: seed of the order and of the shifts' randomness.
        count: number of images that are used, the first ones; None for all.
    """

    def __init__(
        self, dataset: Dataset, stream: Stream, seed: int, count: int | None = None
    ) -> None:
        super().__init__(dataset)
        self.stream, self._seed = stream, seed
        images = len(dataset) if count is None else min(count, len(dataset))
        self.positions: list[Position] = stream_positions(stream, images, seed)
        self._done = len(dataset.shifts) if isinstance(dataset, ShiftedDataset) else 0
        if stream.in_file_order:
            return  # its images are those of the data set, unchanged
        contents = [_content(chain) for chain in stream.segments]
        self.fingerprint = hash_of(
            [dataset.fingerprint, stream.kind, contents, seed, images], length=16
        )
        self.notices = (*dataset.notices, f"{dataset.domain}: {_words(stream)}")

    def __len__(self) -> int:
        return len(self.positions)

    def name(self, index: int) -> str:
        return self._dataset.name(self.positions[index].image)

    def placed(self, indices: Sequence[int]) -> PlacedBatch:
        here = [self.positions[position] for position in indices]
        placed = self._dataset.placed([place.image for place in here])
        shifted = [
            shift_image(
                image, self.stream.segments[place.segment], self._seed, place.image, self._done
            )
            for image, place in zip(_pictures(placed), here, strict=True)
        ]
        return _with_pictures(placed, shifted)


def _pictures(placed: PlacedBatch) -> Iterator[Tensor]:
    """Yield the picture of each image, (3, h, w), without its padding."""
    for image, (rows, columns) in zip(placed.batch.images, placed.areas, strict=True):
        yield image[:, rows, columns].contiguous()


def _with_pictures(placed: PlacedBatch, pictures: Sequence[Tensor]) -> PlacedBatch:
    """Return a batch with other pictures inside the same padding."""
    images = placed.batch.images.clone()
    for image, (rows, columns), picture in zip(images, placed.areas, pictures, strict=True):
        image[:, rows, columns] = picture
    return PlacedBatch(Batch(images, placed.batch.targets), placed.areas)


def _words(stream: Stream) -> str:
    words = {
        "shuffled": "the images come in a random order",
        "continual": "the images come once under each shift, one shift after the other: ",
        "mixed": "the images come in file order, each under one of the shifts, drawn for it: ",
    }
    return words[stream.kind] + ", ".join(stream.names)


def _content(shifts: Sequence[Shift]) -> list[object]:
    """Return all that the effect of shifts depends on: area, code and constants."""
    code = hash_source(Path(corruptions.__file__).read_text(encoding="utf-8"))
    return [_AREA, code, *((shift.name, shift.constants) for shift in shifts)]
