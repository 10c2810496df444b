"""Metrics of the parts of people."""

from __future__ import annotations

from ttt_bench.metrics.class_maps import ClassMetrics, metrics_of_classes
from ttt_bench.metrics.colours import Colour, class_colour

BACKGROUND: Colour = (70, 70, 70)


class HumanParts(ClassMetrics):
    """Metrics of the parts of people.

    As in ASTMT's evaluation, the background is a class of the mean, and the pixels of images
    without people have no target (Maninis et al., Attentive Single-Tasking of Multiple Tasks, CVPR
    2019).
    """

    name = "human_parts"
    metrics = metrics_of_classes("human_parts")

    def colour(self, index: int) -> Colour:
        """Return the RGB of a part; the background is dark grey."""
        return BACKGROUND if index == 0 else class_colour(index)


TASK_METRICS = HumanParts()
