"""Data sets of other packages, whose code must leave the process as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, TypeVar

from ttt_bench.data.base import Dataset, PlacedBatch
from ttt_bench.data.shifts.views import WrappedDataset
from ttt_bench.errors import BenchError, DataError
from ttt_bench.network import Batch
from ttt_bench.util.code.error_place import describe
from ttt_bench.util.input.validation import shortened
from ttt_bench.util.process import watched
from ttt_bench.util.progress import Progress

ValueT = TypeVar("ValueT")


class WatchedDataset(WrappedDataset):
    """The same data set. It raises a `ProcessError` when reading it has changed the process."""

    @property
    def original(self) -> Dataset:
        """The data set itself."""
        return self._dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def placed(self, indices: Sequence[int]) -> PlacedBatch:
        with self._watched():
            return self._dataset.placed(indices)

    def augmented(self, indices: Sequence[int], seed: int) -> Batch:
        with self._watched():
            return self._dataset.augmented(indices, seed)

    def ids(self) -> frozenset[str]:
        found: Any = self._called("ids", self._dataset.ids)
        if not isinstance(found, frozenset | set) or not all(isinstance(i, str) for i in found):
            raise DataError(
                f"{self.domain}: `ids` returns {shortened(found)}; return a frozenset of texts"
            )
        return frozenset(found)

    def prepare(self, progress: Progress) -> None:
        self._called("prepare", partial(self._dataset.prepare, progress))

    def _called(self, name: str, method: Callable[[], ValueT]) -> ValueT:
        """Return what a method returns, which can raise any error."""
        with self._watched():
            try:
                return method()
            except BenchError:
                raise
            except Exception as error:  # the code of another package can raise any error
                reason = describe(error, type(self._dataset))
                raise DataError(f"{self.domain}: `{name}` failed: {reason}") from error

    def _watched(self) -> AbstractContextManager[None]:
        return watched(f"reading data set {self.domain}")
