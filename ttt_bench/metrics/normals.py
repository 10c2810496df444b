"""Metrics of surface normals, from angles in degrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttt_bench.metrics import colours
from ttt_bench.metrics.base import Array, Metric, Scores, Scoring, TaskMetrics, ratio
from ttt_bench.tasks import IGNORE

BINS_PER_DEGREE = 16
"""Bins of the histogram of angles per degree: the limits of `WITHIN` are edges of bins."""
ANGLE_BINS = 180 * BINS_PER_DEGREE
WITHIN = {"within_11_25": 11.25, "within_22_5": 22.5, "within_30": 30.0}
"""Limits in degrees of the metrics that count small angles."""


def median_angle(counts: ArrayLike) -> float:
    """Return the median of a histogram of angles in degrees; NaN if it is empty.

    The angles of a bin are taken as evenly spread over it.

    Args:
        counts: (`ANGLE_BINS`,).
    """
    bins = np.asarray(counts, dtype=np.float64)
    up_to = bins.cumsum()
    half = up_to[-1] / 2
    if not half:
        return float("nan")
    place = int(np.searchsorted(up_to, half))
    return float((place + 1 - (up_to[place] - half) / bins[place]) / BINS_PER_DEGREE)


def share_below(counts: ArrayLike, degrees: float) -> float:
    """Return the percentage of a histogram of angles below a limit; NaN if it is empty.

    Args:
        counts: (`ANGLE_BINS`,).
        degrees: the limit, an edge of two bins.
    """
    bins = np.asarray(counts, dtype=np.float64)
    total = bins.sum()
    if not total:
        return float("nan")
    return float(100.0 * bins[: round(degrees * BINS_PER_DEGREE)].sum() / total)


def _within(name: str) -> Metric:
    degrees = f"{WITHIN[name]:g}°"
    return Metric(
        task="normals",
        name=name,
        head=f"< {degrees}",
        unit="percent",
        higher_is_better=True,
        about=f"share of valid pixels with an angle below {degrees}",
    )


class Normals(TaskMetrics):
    """Metrics of surface normals."""

    name = "normals"
    metrics = (
        Metric(
            task="normals",
            name="merr",
            head="mErr",
            unit="degrees",
            higher_is_better=False,
            about="angle between unit vectors, mean over the set's valid pixels",
            primary=True,
        ),
        Metric(
            task="normals",
            name="median",
            head="median",
            unit="degrees",
            higher_is_better=False,
            about="median angle over the set's valid pixels, from a histogram of 1/16 degree",
        ),
        *(_within(name) for name in WITHIN),
    )
    image_sums = "n, sum of angles in degrees"
    set_sums = "pixels with an angle in each bin of 1/16 degree, 0 to 180"
    constant_words = "not known, because the stored angles do not determine it"

    def score(self, groups: Sequence[Array]) -> float:
        # (B, 2) per batch -> (2,)
        count, angles = np.sum([np.sum(group, axis=0) for group in groups], axis=0)
        return float(angles / count) if count else float("nan")

    def linear_sums(self, images: Array, batch: NDArray[np.intp]) -> Array:
        return images

    def score_of_sums(self, sums: Array) -> Array:
        return ratio(sums[..., 1], sums[..., 0])

    def other_scores(self, groups: Sequence[Array], set_sums: Array | None) -> Scores:
        if set_sums is None or not set_sums.any():
            return {}
        within = {name: share_below(set_sums, degrees) for name, degrees in WITHIN.items()}
        return {"median": median_angle(set_sums), **within}

    def scoring_words(self, scoring: Scoring, unit: str) -> str:
        return "angle between unit vectors, mean over the set's valid pixels"

    def picture(
        self, truth: NDArray[Any], prediction: NDArray[Any] | None = None
    ) -> colours.Picture:
        target = np.asarray(truth)
        missing = _missing(target)
        shown = target if prediction is None else np.where(missing, IGNORE, prediction)
        return colours.directions(shown)

    def error(self, truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
        """Return the angle between the directions in degrees."""
        # (3, H, W) -> (H, W)
        p, t = np.asarray(prediction, dtype=np.float64), np.asarray(truth, dtype=np.float64)
        sine = np.linalg.norm(np.cross(p, t, axis=0), axis=0)
        angle = np.degrees(np.arctan2(sine, (p * t).sum(axis=0)))
        return np.where(_missing(t), np.nan, angle)


def _missing(target: Array) -> NDArray[np.bool_]:
    """Return where directions (3, H, W) are missing, (H, W)."""
    found: NDArray[np.bool_] = (target == IGNORE).all(axis=0)
    return found


TASK_METRICS = Normals()
