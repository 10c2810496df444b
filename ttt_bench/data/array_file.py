"""Arrays in files whose entries are read on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.errors import DataError


class ArrayFile:
    """An array in a `.npy` file whose entries along the first axis are read on demand.

    The file stays open, so it may be deleted meanwhile. If it is cut short, reading gives an error,
    where a memory map would end the process without a message.

    Args:
        path: the file, in C order.

    Attributes:
        shape: the shape of the whole array.
        dtype: the type of its values.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no array file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        header = np.load(path, mmap_mode="r", allow_pickle=False)  # reads no values
        self.shape: tuple[int, ...] = header.shape
        self.dtype: np.dtype[Any] = header.dtype
        self._start = int(header.offset)
        self._file = path.open("rb", buffering=0)

    def take(self, indices: Sequence[int]) -> NDArray[Any]:
        """Return the entries at these indices, in this order.

        Raises:
            DataError: the file has been cut short.
        """
        found = np.empty((len(indices), *self.shape[1:]), self.dtype)
        size = found[:1].nbytes
        for n, index in enumerate(indices):
            place = self._start + range(self.shape[0])[index] * size
            if self._read_into(found[n : n + 1].data.cast("B"), place) != size:
                raise DataError(
                    f"{self.path} has been cut short while it is in use; run the same command again"
                )
        return found

    def _read_into(self, buffer: memoryview, place: int) -> int:
        """Fill a buffer from a place in the file; return the number of bytes read."""
        if hasattr(os, "preadv"):  # forked workers share the position in the file
            return os.preadv(self._file.fileno(), [buffer], place)
        self._file.seek(place)
        return self._file.readinto(buffer) or 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._file = self.path.open("rb", buffering=0)

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self._file.close()
