"""Metrics of saliency, from the counts of each image at a few thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttt_bench.metrics import colours
from ttt_bench.metrics.base import Array, Metric, Scores, Scoring, TaskMetrics, ratio
from ttt_bench.tasks import IGNORE

LEVELS = 20
"""Levels of an output: the number of thresholds 0.05, 0.10, ... 0.95 that it reaches."""
BETA_SQUARED = 0.3
"""Weight of recall against precision in F."""
JACCARD_LEVELS = slice(3, 18)
"""The thresholds 0.20, 0.25, ... 0.90 among those of `LEVELS`."""


class Counts(NamedTuple):
    """Counts of pixels, of one image or of several.

    Attributes:
        valid: (...,), pixels with a target.
        salient: (..., 1), salient ones.
        predicted: (..., 19), those whose output reaches each threshold.
        right: (..., 19), the salient ones among them.
    """

    valid: Array
    salient: Array
    predicted: Array
    right: Array


def counts_of(sums: Array) -> Counts:
    """Return the counts of sums (..., 40)."""
    valid, salient, predicted, right = np.split(sums, [1, 2, 1 + LEVELS], axis=-1)
    return Counts(valid[..., 0], salient, predicted, right)


def max_f(sums: Array) -> Array:
    """Return the largest F in percent over the thresholds, (...); NaN if no pixel is valid.

    With precision P and recall R, F = 1.3 P R / (0.3 P + R). It is 0 without a right pixel.

    Args:
        sums: (..., 40), of one image or of several together.
    """
    found = counts_of(np.asarray(sums, dtype=np.float64))
    # P = right / predicted and R = right / salient, multiplied out
    below = BETA_SQUARED * found.salient + found.predicted
    f = np.divide(found.right, below, out=np.zeros_like(below), where=below > 0).max(axis=-1)
    return np.where(found.valid > 0, 100.0 * (1 + BETA_SQUARED) * f, np.nan)


def mean_jaccard(images: Array) -> float | None:
    """Return the largest mean IoU in percent over the thresholds; None if no pixel is valid.

    Args:
        images: the sums of each image, (B, 40). Images without a valid pixel are left out; the IoU
            of an image is 1 if nothing is salient and nothing is predicted.
    """
    found = counts_of(images[images[:, 0] > 0])
    if not len(found.valid):
        return None
    union = found.predicted + found.salient - found.right
    # (B, 19) -> (15,)
    iou = np.divide(found.right, union, out=np.ones_like(union), where=union > 0).mean(axis=0)
    return float(100.0 * iou[JACCARD_LEVELS].max())


class Saliency(TaskMetrics):
    """Metrics of saliency.

    The primary one has the thresholds and the beta of public multi-task evaluation code, such as
    MTLoRA's; the other one is that of ASTMT's code (Maninis et al., Attentive Single-Tasking of
    Multiple Tasks, CVPR 2019).
    """

    name = "saliency"
    metrics = (
        Metric(
            task="saliency",
            name="max_f",
            head="max F",
            unit="percent",
            higher_is_better=True,
            about="largest F over the thresholds 0.05, 0.10, ... 0.95 on the sigmoid of the "
            "output, one threshold for the whole set, of counts pooled over the set; recall has "
            "the weight 0.3 (beta squared)",
            primary=True,
        ),
        Metric(
            task="saliency",
            name="miou",
            head="mIoU",
            unit="percent",
            higher_is_better=True,
            about="largest mean over images of the IoU of the salient pixels, over the thresholds "
            "0.20, 0.25, ... 0.90, one threshold for the whole set",
        ),
    )
    image_sums = (
        "n, salient pixels, then for each threshold 0.05, 0.10, ... 0.95 the pixels that reach it, "
        "then for each threshold the salient ones among these"
    )
    constant_words = "every pixel salient"

    def score(self, groups: Sequence[Array]) -> float:
        return float(max_f(np.sum([np.sum(group, axis=0) for group in groups], axis=0)))

    def linear_sums(self, images: Array, batch: NDArray[np.intp]) -> Array:
        return images

    def score_of_sums(self, sums: Array) -> Array:
        return max_f(sums)

    def other_scores(self, groups: Sequence[Array], set_sums: Array | None) -> Scores:
        found = mean_jaccard(np.concatenate(groups))
        return {} if found is None else {"miou": found}

    def transform(self, output: Any, scoring: Scoring) -> Any:
        return output.sigmoid()

    def scoring_words(self, scoring: Scoring, unit: str) -> str:
        return "sigmoid of the raw output; largest F over thresholds, of counts pooled over the set"

    def constant_score(self, groups: Sequence[Array]) -> float | None:
        valid, salient = np.sum(groups, axis=0)[:2]
        share = ratio(salient, valid)
        return float(100.0 * (1 + BETA_SQUARED) * share / (BETA_SQUARED * share + 1))

    def constant_warning(self, score: float, constant: float) -> tuple[str, str] | None:
        if score > constant:
            return None
        return "Below a constant", "saliency: Base is not better than calling every pixel salient"

    def picture(
        self, truth: NDArray[Any], prediction: NDArray[Any] | None = None
    ) -> colours.Picture:
        target = _plane(truth)
        values = target if prediction is None else _plane(prediction)
        return colours.grey(np.where(target == IGNORE, np.nan, values), 0.0, 1.0)

    def error(self, truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
        """Return |predicted probability - truth|."""
        target = _plane(truth)
        return np.where(target == IGNORE, np.nan, np.abs(_plane(prediction) - target))


def _plane(values: NDArray[Any]) -> Array:
    """Return (1, H, W) or (H, W) as (H, W)."""
    return np.asarray(values, dtype=np.float64).reshape(values.shape[-2:])


TASK_METRICS = Saliency()
