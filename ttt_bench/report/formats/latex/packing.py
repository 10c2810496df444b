"""Sequences divided into parts of limited size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

SLACK = (1.0, 1.1, 1.25, 1.5)
"""Sizes of the largest part, relative to the mean, the most even division first."""


def packed(items: Sequence[T], size: Callable[[T], float], limit: float) -> list[list[T]]:
    """Return the items in order, in parts of size `limit` at most; a larger item is alone."""
    parts: list[list[T]] = []
    used = 0.0
    for item in items:
        if parts and used + size(item) <= limit:
            parts[-1].append(item)
            used += size(item)
        else:
            parts.append([item])
            used = size(item)
    return parts


def even(items: Sequence[T], size: Callable[[T], float], limit: float) -> list[list[T]]:
    """Return the parts of `packed`, of about the same size if this takes no more parts."""
    parts = packed(items, size, limit)
    mean = sum(map(size, items)) / max(1, len(parts))
    divisions = (packed(items, size, min(limit, slack * mean)) for slack in SLACK)
    return next((found for found in divisions if len(found) == len(parts)), parts)
