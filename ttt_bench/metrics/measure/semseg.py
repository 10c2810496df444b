"""The measurement of semantic segmentation."""

from __future__ import annotations

from ttt_bench.metrics.measure.class_maps import ClassMeasurement, confusion

__all__ = ["MEASUREMENT", "confusion"]

MEASUREMENT = ClassMeasurement()
