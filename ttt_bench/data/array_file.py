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
        for entry, index in zip(found, indices, strict=True):
            content = self._read(self._start + range(self.shape[0])[index] * size, size)
            if len(content) != size:
                raise DataError(
                    f"{self.path} has been cut short while it is in use; run the same command again"
                )
            entry[...] = np.frombuffer(content, self.dtype).reshape(entry.shape)
        return found

    def _read(self, place: int, size: int) -> bytes:
        if hasattr(os, "pread"):  # forked workers share the position in the file
            return os.pread(self._file.fileno(), size, place)
        self._file.seek(place)
        return self._file.read(size) or b""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._file = self.path.open("rb", buffering=0)

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self._file.close()
