"""Metrics of the tasks: one module per task, and their measurement on tensors in `measure`.

The metrics of the papers are public names here. Those that need torch are loaded when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = {
    "mean_iou": "ttt_bench.metrics.measure.published",
    "normal_angle_error": "ttt_bench.metrics.measure.published",
    "align_scale_shift": "ttt_bench.metrics.measure.published",
    "aligned_rmse": "ttt_bench.metrics.measure.published",
    "delta_ttt": "ttt_bench.metrics.delta",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
