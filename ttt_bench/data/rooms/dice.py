"""Random numbers that depend only on (seed, index, stream)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Stream(IntEnum):
    """One stream per part of the look, so that parts can be exchanged independently."""

    LIGHT = 0
    SENSOR = 1
    STYLE = 2
    LAYOUT = 3
    CAMERA = 4
    PIXELS = 5


def generator(seed: int, index: int, stream: Stream) -> np.random.Generator:
    """Return the generator of one image's stream, keyed by all three, so that none overlap."""
    return np.random.Generator(np.random.Philox(key=[(seed << 32) | index, int(stream)]))


class Dice:
    """Scalar draws in plain Python.

    Draws are made in blocks, because a single draw from NumPy costs more than a piece of furniture.
    """

    def __init__(self, seed: int, index: int, stream: Stream) -> None:
        self._generator = generator(seed, index, stream)
        self._block: list[float] = []

    def unit(self) -> float:
        """Return a number in [0, 1)."""
        if not self._block:
            self._block = self._generator.random(192).tolist()
        return self._block.pop()

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * self.unit()

    def about(self, centre: float, spread: float) -> float:
        """Return a number within `spread` of `centre`."""
        return centre + spread * (2.0 * self.unit() - 1.0)

    def whole(self, low: int, high: int) -> int:
        """Return a whole number from low to high, both included."""
        return low + min(int((high - low + 1) * self.unit()), high - low)

    def chance(self, share: float) -> bool:
        """Return True with this probability."""
        return self.unit() < share

    def choose(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.whole(0, len(items) - 1)]

    def weighted(self, weights: Sequence[float]) -> int:
        """Return an index, drawn with these weights."""
        rest = self.unit() * sum(weights)
        for index, weight in enumerate(weights):
            rest -= weight
            if rest < 0:
                return index
        return len(weights) - 1

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return the items in a random order."""
        keyed = [(self.unit(), item) for item in items]
        return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]
