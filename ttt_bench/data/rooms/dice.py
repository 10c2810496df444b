"""Random numbers that depend on nothing but (seed, index, stream)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Stream(IntEnum):
    """One stream a part of the look, so that exchanging one part leaves what the others drew as it was."""

    LIGHT = 0
    SENSOR = 1
    STYLE = 2
    LAYOUT = 3
    CAMERA = 4
    PIXELS = 5


def generator(seed: int, index: int, stream: Stream) -> np.random.Generator:
    """The generator of one image's stream: a counter-based one keyed by all three, so no two overlap."""
    return np.random.Generator(np.random.Philox(key=[(seed << 32) | index, int(stream)]))


class Dice:
    """Scalar draws in plain Python, made in blocks because a single draw from numpy costs more than a piece of
    furniture."""

    def __init__(self, seed: int, index: int, stream: Stream) -> None:
        self._generator = generator(seed, index, stream)
        self._block: list[float] = []

    def unit(self) -> float:
        """A number in [0, 1)."""
        if not self._block:
            self._block = self._generator.random(192).tolist()
        return self._block.pop()

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit()

    def about(self, centre: float, spread: float) -> float:
        """A number within `spread` of `centre`."""
        return centre + spread * (2.0 * self.unit() - 1.0)

    def whole(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + min(int((high - low + 1) * self.unit()), high - low)

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return self.unit() < share

    def choose(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.whole(0, len(items) - 1)]

    def weighted(self, weights: Sequence[float]) -> int:
        """An index, with these weights."""
        rest = self.unit() * sum(weights)
        for index, weight in enumerate(weights):
            rest -= weight
            if rest < 0:
                return index
        return len(weights) - 1

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in a random order."""
        return [
            item
            for _, item in sorted(((self.unit(), item) for item in items), key=lambda pair: pair[0])
        ]
