"""Frames of any data set as the deep checks see them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ttt_bench.data.images.files import Indexed, Problem, spread
from ttt_bench.errors import DataError

Native = dict[str, NDArray[Any]]
"""A frame's arrays as decoded, by part."""


@dataclass(frozen=True)
class Frameset:
    """Frames that are complete in these parts.

    Attributes:
        name: which list or split they are, for messages.
        frames: names and files.
        parts: the image, and what targets are made of.
        decode: a part's file to an array; raises DataError where it cannot be used.
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
        """The first frame's file of a part."""
        return self.frames.path(0, part)

    def read(self, index: int, parts: Sequence[str]) -> Native:
        """Parts of a frame.

        Raises:
            DataError: a file cannot be used, or is another shape than the first part's.
        """
        arrays: Native = {}
        for part in parts:
            arrays[part] = self._read(index, part, arrays[parts[0]].shape if arrays else None)
        return arrays

    def problems(self, index: int) -> list[Problem]:
        """What is wrong with a frame's files."""
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
                f"{path}: {array.shape[1]}x{array.shape[0]} pixels, but the frame's {self.parts[0]} has "
                f"{shape[1]}x{shape[0]}"
            )
        return array


def sampled(sets: Sequence[Frameset], most: int) -> list[tuple[Frameset, int]]:
    """At most so many frames, evenly spread over all sets, the same every time."""
    everything = [(part, start) for part, start in zip(sets, _starts(sets), strict=True)]
    total = sum(len(part) for part in sets)
    chosen, at = [], spread(total, most)
    for part, start in everything:
        chosen += [(part, index - start) for index in at if start <= index < start + len(part)]
    return chosen


def _starts(sets: Sequence[Frameset]) -> list[int]:
    starts = [0]
    for part in sets:
        starts.append(starts[-1] + len(part))
    return starts[:-1]
