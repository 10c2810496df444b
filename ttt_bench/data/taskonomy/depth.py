"""Taskonomy's encoding of depth: log(1 + counts) / log(65536), with 512 counts per metre."""

from __future__ import annotations

import math
from typing import Protocol, Self, TypeVar

LOG_RANGE = math.log(65_536)
COUNTS_PER_METRE = 512.0


class _Values(Protocol):
    """The part of a tensor's interface that decoding needs; this module imports no torch."""

    def clamp(self, min: float, max: float) -> Self: ...
    def expm1(self) -> Self: ...
    def __mul__(self, other: float) -> Self: ...
    def __truediv__(self, other: float) -> Self: ...


_ValuesT = TypeVar("_ValuesT", bound=_Values)


def to_metres(encoded: _ValuesT) -> _ValuesT:
    """Return encoded depth in metres; values outside the encoding's range 0..1 are clamped."""
    return (encoded.clamp(0, 1) * LOG_RANGE).expm1() / COUNTS_PER_METRE
