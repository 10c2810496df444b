"""Metrics of depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ttt_bench.metrics import colours
from ttt_bench.metrics.aligned import AlignedMetrics, rmse_of
from ttt_bench.metrics.base import Array, Metric, Scores, Scoring

CLOSE = 1.25
"""The factor that delta1 allows."""


class Depth(AlignedMetrics):
    """Metrics of depth."""

    name = "depth"
    metrics = (
        rmse_of("depth"),
        Metric(
            task="depth",
            name="abs_rel",
            head="AbsRel",
            unit="",
            higher_is_better=False,
            about="mean of abs(p - t) / t over the set's pixels with t > 0, p being aligned as for "
            "RMSE; in metres: if depth is encoded, p and t are decoded after the alignment (p "
            "kept within the range of the encoding)",
        ),
        Metric(
            task="depth",
            name="delta1",
            head="delta1",
            unit="percent",
            higher_is_better=True,
            about="share of the same pixels with max(p / t, t / p) < 1.25; a pixel with p <= 0 is "
            "outside",
        ),
    )
    set_sums = (
        "pixels with a target above 0, their sum of abs(p - t) / t and how many have "
        "max(p / t, t / p) < 1.25, in metres, p after the alignment of its evaluation batch"
    )

    def other_scores(self, groups: Sequence[Array], set_sums: Array | None) -> Scores:
        if set_sums is None or not set_sums[0]:
            return {}
        count, error, close = set_sums.tolist()
        return {"abs_rel": error / count, "delta1": 100.0 * close / count}

    def transform(self, output: Any, scoring: Scoring) -> Any:
        return output.clamp(min=0) if scoring.depth_nonnegative else output

    def scoring_words(self, scoring: Scoring, unit: str) -> str:
        output = "negative depths set to 0" if scoring.depth_nonnegative else "raw output"
        return f"{output}, in {unit}"

    def coloured(self, values: Array, low: float, high: float) -> colours.Picture:
        return colours.viridis(values, low, high)


TASK_METRICS = Depth()
