"""The base of tasks that are scored after one scale and shift per evaluation batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttt_bench.metrics.alignment import align, constant_rmse, rmse, squared_errors
from ttt_bench.metrics.base import Array, Metric, TaskMetrics, ratio
from ttt_bench.metrics.colours import Picture
from ttt_bench.tasks import IGNORE

SATURATED = 0.02
"""A score within this share of that of the best constant says little."""


def rmse_of(task: str) -> Metric:
    """Return the primary metric of such a task."""
    return Metric(
        task=task,
        name="rmse",
        head="RMSE",
        unit="",
        higher_is_better=False,
        about="root mean squared error in the target's unit, after one scale and shift per "
        "evaluation batch",
        primary=True,
    )


class AlignedMetrics(TaskMetrics):
    """Metrics of a task with one real value per pixel, scored by RMSE after an alignment."""

    image_sums = (
        "n, sum p, sum t, sum p^2, sum t^2, sum p t over valid pixels (p after the scoring "
        "transform of the target)"
    )
    aligned = True
    constant_words = "the best constant of each evaluation batch; no aligned prediction is worse"

    def score(self, groups: Sequence[Array]) -> float:
        # (B, 6) -> (6,) per batch
        return rmse([np.asarray(group, dtype=np.float64).sum(axis=0) for group in groups])

    def linear_sums(self, images: Array, batch: NDArray[np.intp]) -> Array:
        return np.stack([images[..., 0], squared_errors(images, batch)], axis=-1)

    def score_of_sums(self, sums: Array) -> Array:
        return np.sqrt(ratio(sums[..., 1].clip(min=0), sums[..., 0]))

    def constant_score(self, groups: Sequence[Array]) -> float | None:
        return constant_rmse(groups)

    def constant_warning(self, score: float, constant: float) -> tuple[str, str] | None:
        if score < (1 - SATURATED) * constant:
            return None
        share = 100 * (1 - score / constant)
        return "Saturated", (
            f"{self.name}: Base is only {share:.1f} % better than the best constant, so this "
            "column says little"
        )

    def value_range(self, truth: NDArray[Any]) -> tuple[float, float]:
        values = _plane(truth)
        valid = values[_valid(values)]
        return (float(valid.min()), float(valid.max())) if valid.size else (0.0, 0.0)

    def picture(self, truth: NDArray[Any], prediction: NDArray[Any] | None = None) -> Picture:
        """Return a prediction in colours, (H, W, 3); without one, the truth.

        The prediction is aligned with the truth over its valid pixels, as scoring does per batch.
        Both are coloured in the truth's range.
        """
        target = _plane(truth)
        shown = target if prediction is None else _aligned(_plane(prediction), target)
        shown = np.where(_valid(target), shown, np.nan)
        return self.coloured(shown, *self.value_range(truth))

    def error(self, truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
        """Return |aligned prediction - truth| in the target's unit."""
        target = _plane(truth)
        distance = np.abs(_aligned(_plane(prediction), target) - target)
        return np.where(_valid(target), distance, np.nan)

    def coloured(self, values: Array, low: float, high: float) -> Picture:
        """Return values (H, W) in colours; values outside the range take the colour of its end."""
        raise NotImplementedError


def _aligned(prediction: Array, target: Array) -> Array:
    """Return a prediction (H, W) after its alignment with the target (H, W)."""
    valid = _valid(target)
    p, t = prediction[valid], target[valid]
    sums = [valid.sum(), p.sum(), t.sum(), (p * p).sum(), (t * t).sum(), (p * t).sum()]
    scale, shift = align(np.array(sums, dtype=np.float64))
    return np.asarray(scale * prediction + shift, dtype=np.float64)


def _plane(values: NDArray[Any]) -> Array:
    """Return (H, W) or (1, H, W) as (H, W)."""
    plane = np.asarray(values, dtype=np.float64)
    return plane[0] if plane.ndim == 3 else plane


def _valid(target: Array) -> NDArray[np.bool_]:
    return np.asarray((target != IGNORE) & np.isfinite(target))
