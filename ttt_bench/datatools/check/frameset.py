"""The frames of any data set, as the checks of file contents read them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ttt_bench.data.images.files import Indexed, Problem, spread
from ttt_bench.errors import DataError
from ttt_bench.util.parallel import map_in_threads
from ttt_bench.util.progress import Progress

Native = dict[str, NDArray[Any]]
"""The decoded arrays of a frame, by part."""


@dataclass(frozen=True, kw_only=True)
class Frameset:
    """Frames that have a file for each of these parts.

    Attributes:
        name: the list or split, for messages.
        frames: names and files.
        parts: the image first, then what targets are made of.
        decode: decodes the file of a part; raises DataError if the file cannot be used.
        alike: whether two shapes may be those of an image and its target.
    """

    name: str
    frames: Indexed
    parts: tuple[str, ...]
    decode: Callable[[Path, str], NDArray[Any]]
    alike: Callable[[Sequence[int], Sequence[int]], bool]

    def __len__(self) -> int:
        return len(self.frames)

    def example(self, part: str) -> Path:
        """Return the first frame's file of a part."""
        return self.frames.path(0, part)

    def read(self, index: int, parts: Sequence[str]) -> Native:
        """Return the arrays of some parts of a frame.

        Raises:
            DataError: a file cannot be used, or its shape differs from that of the first part.
        """
        arrays: Native = {}
        for part in parts:
            arrays[part] = self._read(index, part, arrays[parts[0]].shape if arrays else None)
        return arrays

    def problems(self, index: int) -> list[Problem]:
        """Return the problems of the files of a frame."""
        found: list[Problem] = []
        shape: Sequence[int] | None = None
        for part in self.parts:
            try:
                array = self._read(index, part, shape)
                shape = shape or array.shape
            except DataError as error:
                found.append(Problem(self.frames.path(index, part), str(error)))
        return found

    def _read(self, index: int, part: str, shape: Sequence[int] | None) -> NDArray[Any]:
        path = self.frames.path(index, part)
        array = self.decode(path, part)
        if shape is not None and not self.alike(array.shape[:2], shape[:2]):
            raise DataError(
                f"{path}: {array.shape[1]}x{array.shape[0]} pixels, but the frame's "
                f"{self.parts[0]} has {shape[1]}x{shape[0]}"
            )
        return array


def has_part(sets: Sequence[Frameset], part: str) -> bool:
    """Return whether every set has a part."""
    return all(part in frames.parts for frames in sets)


def sample_frames(sets: Sequence[Frameset], most: int) -> list[tuple[Frameset, int]]:
    """Return at most `most` frames as (set, index), evenly spread over all sets."""
    starts = list(accumulate((len(frames) for frames in sets), initial=0))
    chosen = []
    for at in spread(starts[-1], most):
        number = bisect_right(starts, at) - 1  # the set that position `at` belongs to
        chosen.append((sets[number], at - starts[number]))
    return chosen


SAMPLED = 48
"""Number of frames that `read_sample` reads."""


def read_sample(
    sets: Sequence[Frameset], parts: tuple[str, ...], title: str, progress: Progress
) -> Iterator[Native]:
    """Yield these parts of an evenly spread sample of frames; unreadable frames are left out."""

    def read(place: tuple[Frameset, int]) -> Native | None:
        try:
            return place[0].read(place[1], parts)
        except DataError:
            return None  # reported where files are decoded

    for native in map_in_threads(read, sample_frames(sets, SAMPLED), title, progress):
        if native is not None:
            yield native
