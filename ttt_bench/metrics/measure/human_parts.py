"""The measurement of the parts of people."""

from __future__ import annotations

from ttt_bench.metrics.measure.class_maps import ClassMeasurement

MEASUREMENT = ClassMeasurement()
