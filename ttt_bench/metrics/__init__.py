"""Scores of the tasks: what is measured on tensors, and what is scored from stored statistics.

The metrics of the papers are public names here; those that need PyTorch are loaded when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "mean_iou": "ttt_bench.metrics.statistics",
    "normal_angle_error": "ttt_bench.metrics.statistics",
    "align_scale_shift": "ttt_bench.metrics.statistics",
    "aligned_rmse": "ttt_bench.metrics.statistics",
    "delta_ttt": "ttt_bench.metrics.scores",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
