"""Errors of the worker processes that read training images."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.toy import ToyDataset

from ttt_bench.errors import BenchError, DataError
from ttt_bench.network import Batch
from ttt_bench.train.loader import loader

BATCHES = [[0, 1], [2, 3], [4, 5]]


class Failing(ToyDataset):
    """A data set that cannot read image 2."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def batch(self, indices: Sequence[int]) -> Batch:
        if 2 in indices:
            raise self.error
        return super().batch(indices)


class TwoArgumentsError(Exception):
    """An error that cannot be sent to another process, because it is built from two values."""

    def __init__(self, file: str, line: int) -> None:
        super().__init__(f"{file} has no line {line}")


def read(dataset: ToyDataset, workers: int) -> list[Batch]:
    return list(loader(dataset, BATCHES, workers))


def test_damaged_data_are_named_in_one_line() -> None:
    error = DataError("frame 2 is damaged; take it from the archive again")
    for workers in (0, 1):
        with pytest.raises(DataError) as caught:
            read(Failing(error), workers)
        assert str(caught.value) == str(error)


def test_other_errors_of_a_worker_name_their_line_and_keep_their_traceback() -> None:
    with pytest.raises(BenchError) as caught:
        read(Failing(TwoArgumentsError("a.txt", 3)), 1)
    assert not isinstance(caught.value, DataError)
    message = str(caught.value)
    assert message.startswith("TwoArgumentsError: a.txt has no line 3 (test_loader.py:")
    assert message.endswith(" in batch)")
    assert "Traceback" in caught.value.__notes__[0]


def test_batches_arrive_in_order_from_workers() -> None:
    for alone, parallel in zip(read(ToyDataset(), 0), read(ToyDataset(), 2), strict=True):
        assert alone.images.equal(parallel.images)
