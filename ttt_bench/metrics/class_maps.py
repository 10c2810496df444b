"""The base of tasks with a class per pixel, from confusion counts (K, K), truth by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt_bench.metrics.base import Array, LegendEntry, Metric, Scores, Scoring, TaskMetrics
from ttt_bench.metrics.colours import Colour, Picture, class_colour
from ttt_bench.tasks import IGNORE, class_names


def class_iou(confusion: ArrayLike) -> Array:
    """Return the intersection over union of every class, (K,) in [0, 1], from counts (K, K).

    A class in neither truth nor prediction counts as 0, as in the published evaluation.
    """
    counts = np.asarray(confusion, dtype=np.float64)
    hits = np.diag(counts)
    # sums over truth and over prediction: (K, K) -> (K,)
    union = counts.sum(0) + counts.sum(1) - hits
    found: Array = np.divide(hits, union, out=np.zeros_like(hits), where=union > 0)
    return found


def metrics_of_classes(task: str) -> tuple[Metric, ...]:
    """Return the metrics of such a task, mean IoU first."""
    return (
        Metric(
            task=task,
            name="miou",
            head="mIoU",
            unit="percent",
            higher_is_better=True,
            about="IoU of counts pooled over the set, mean over all classes; 0 for a class in "
            "neither truth nor prediction",
            primary=True,
        ),
        Metric(
            task=task,
            name="pixel_accuracy",
            head="pixel accuracy",
            unit="percent",
            higher_is_better=True,
            about="share of the set's valid pixels whose class is right",
        ),
        Metric(
            task=task,
            name="iou",
            head="IoU",
            unit="percent",
            higher_is_better=True,
            about="IoU of one class, of counts pooled over the set; 0 for a class in neither truth "
            "nor prediction",
            per_class=True,
        ),
    )


class ClassMetrics(TaskMetrics):
    """Metrics of a task with a class per pixel."""

    image_sums = "the K x K confusion counts, truth by row, flattened"
    constant_words = "every pixel in the best class"

    def score(self, groups: Sequence[Array]) -> float:
        return float(100.0 * class_iou(_pooled(groups)).mean())

    def linear_sums(self, images: Array, batch: NDArray[np.intp]) -> Array:
        # (..., K * K) -> (..., K, K)
        counts = _square(images)
        hits = np.diagonal(counts, axis1=-2, axis2=-1)
        union = counts.sum(axis=-2) + counts.sum(axis=-1) - hits
        return np.concatenate([hits, union], axis=-1)

    def score_of_sums(self, sums: Array) -> Array:
        hits, union = np.split(sums, 2, axis=-1)
        iou = np.divide(hits, union, out=np.zeros_like(hits), where=union > 0)
        return np.asarray(100.0 * iou.mean(axis=-1))

    def other_scores(self, groups: Sequence[Array], set_sums: Array | None) -> Scores:
        confusion = _pooled(groups)
        valid = confusion.sum()
        iou = 100.0 * class_iou(confusion)
        if not valid:
            return {"iou": iou}
        return {"pixel_accuracy": float(100.0 * np.trace(confusion) / valid), "iou": iou}

    def scoring_words(self, scoring: Scoring, unit: str) -> str:
        return (
            "class of the largest logit; IoU of counts pooled over the set, mean over all classes"
        )

    def constant_score(self, groups: Sequence[Array]) -> float | None:
        truth = self.class_pixels(np.sum(groups, axis=0))
        classes = np.arange(len(truth))
        # one (K, K) per class: every pixel is predicted to be of that class
        confusions = [np.where(classes == label, truth[:, None], 0.0) for label in classes]
        return float(100.0 * max(class_iou(confusion).mean() for confusion in confusions))

    def constant_warning(self, score: float, constant: float) -> tuple[str, str] | None:
        if score > constant:
            return None
        return "Below a constant", f"{self.name}: Base is not better than one class everywhere"

    def class_pixels(self, sums: Array) -> Array:
        # (K, K), truth by row -> (K,)
        found: Array = _square(sums).sum(axis=1)
        return found

    def legend(self, classes: Sequence[str]) -> list[LegendEntry]:
        names = class_names(self.name, classes)
        return [(name, self.colour(index)) for index, name in enumerate(names)]

    def colour(self, index: int) -> Colour:
        """Return the RGB of a class index; that of a missing target for 255."""
        return class_colour(index)

    def picture(self, truth: NDArray[Any], prediction: NDArray[Any] | None = None) -> Picture:
        missing = np.asarray(truth) == IGNORE
        labels = truth if prediction is None else np.where(missing, IGNORE, prediction)
        table = np.array([self.colour(index) for index in range(256)], dtype=np.uint8)
        # (H, W) -> (H, W, 3)
        return table[np.asarray(labels).astype(np.uint8)]

    def error(self, truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
        """Return 1 where the class is wrong and 0 where it is right."""
        target = np.asarray(truth)
        return np.where(target == IGNORE, np.nan, target != prediction).astype(np.float64)


def _pooled(groups: Sequence[Array]) -> Array:
    """Return the counts of all images, (K, K), from (B, K * K) per batch."""
    return _square(np.sum([np.sum(group, axis=0) for group in groups], axis=0))


def _square(counts: Array) -> Array:
    """Return flattened counts (..., K * K) as (..., K, K)."""
    classes = round(counts.shape[-1] ** 0.5)
    return counts.reshape(*counts.shape[:-1], classes, classes)
