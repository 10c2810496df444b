"""Learning-rate schedules of source training."""

from __future__ import annotations

import math


def polynomial_lr(
    base_lr: float, iteration: int, max_iterations: int, gamma: float = 0.9, min_lr: float = 0.0
) -> float:
    """Return (base_lr - min_lr) (1 - iteration / max_iterations)^gamma + min_lr.

    This is the schedule of S4T's public code.
    """
    found: float = (base_lr - min_lr) * (1 - iteration / max_iterations) ** gamma + min_lr
    return found


def cosine_lr(base_lr: float, iteration: int, max_iterations: int) -> float:
    """Return base_lr (1 + cos(pi iteration / max_iterations)) / 2, half a cosine down to 0."""
    return base_lr * (1 + math.cos(math.pi * iteration / max_iterations)) / 2


SCHEDULES = {"polynomial": polynomial_lr, "cosine": cosine_lr}
"""The schedules by the names that `Phase.schedule` takes."""
