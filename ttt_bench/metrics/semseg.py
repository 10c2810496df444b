"""Metrics of semantic segmentation."""

from __future__ import annotations

from ttt_bench.metrics.class_maps import ClassMetrics, class_iou, metrics_of_classes

__all__ = ["TASK_METRICS", "Semseg", "class_iou"]


class Semseg(ClassMetrics):
    """Metrics of semantic segmentation."""

    name = "semseg"
    metrics = metrics_of_classes("semseg")


TASK_METRICS = Semseg()
