"""Time a function repeatedly until its quartiles are close to the median."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

WARM_UP = 2
"""Calls before the first one that is timed."""
LEAST, MOST = 5, 200
"""Smallest and largest number of timed calls."""
TOLERANCE = 0.05
"""Largest distance of a quartile from the median, relative to it."""

Clock = Callable[[Callable[[], object]], float]
"""Call a function and return its seconds."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """The time of a function in seconds.

    Attributes:
        median: the median.
        q1: the lower quartile.
        q3: the upper quartile.
        repeats: the number of timed calls.
        settled: whether both quartiles are within `TOLERANCE` of the median.
    """

    median: float
    q1: float
    q3: float
    repeats: int
    settled: bool


def clock_of(device: torch.device) -> Clock:
    """Return how to time a function on a device: by CUDA events, or by the process's clock."""
    return _cuda_seconds if device.type == "cuda" else _seconds


def measure(function: Callable[[], object], clock: Clock, limit: float) -> Timed:
    """Return the time of a function.

    It is called again until the quartiles are within `TOLERANCE` of the median, and at most `MOST`
    times or for `limit` seconds, but at least `LEAST` times.

    Args:
        function: the function; each call must do the same work.
        clock: times one call.
        limit: seconds.
    """
    for _ in range(WARM_UP):
        function()
    seconds: list[float] = []
    while not _enough(seconds, limit):
        seconds.append(clock(function))
    return summary(seconds)


def summary(seconds: list[float]) -> Timed:
    """Return median and quartiles of measured times (linear interpolation)."""
    q1, median, q3 = np.quantile(seconds, (0.25, 0.5, 0.75)).tolist()
    near = max(median - q1, q3 - median) <= TOLERANCE * median
    return Timed(median=median, q1=q1, q3=q3, repeats=len(seconds), settled=near)


def _enough(seconds: list[float], limit: float) -> bool:
    if len(seconds) < LEAST:
        return False
    return summary(seconds).settled or len(seconds) >= MOST or sum(seconds) >= limit


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _cuda_seconds(function: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    function()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) / 1000
