"""Metrics of edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ttt_bench.metrics import colours
from ttt_bench.metrics.aligned import AlignedMetrics, rmse_of
from ttt_bench.metrics.base import Array, Metric, Scores, Scoring

LEVELS = 100
"""Levels of an edge output: the number of thresholds 0.01, 0.02, ... 0.99 that it reaches."""


def ods_f(counts: ArrayLike) -> float:
    """Return the best F in [0, 1] over all thresholds, one threshold for the whole set.

    At a threshold F = 2 P R / (P + R). P is the share of predicted edge pixels with a true one near
    them, R the share of true ones with a predicted one near them. F is 0 without either.

    Args:
        counts: (300,), as `ttt_bench.metrics.measure.edge.edge_matches` returns them.
    """
    # (300,) -> (3, 100)
    levels = np.asarray(counts, dtype=np.float64).reshape(3, LEVELS)
    # from level k on: the pixels that reach the threshold k / 100
    reaching = levels[:, ::-1].cumsum(axis=1)[:, ::-1]
    (alone, right, found), true = reaching[:, 1:], reaching[2, 0]
    # P = right / (alone + right) and R = found / true, multiplied out
    below = right * true + found * (alone + right)
    f = np.divide(2 * right * found, below, out=np.zeros_like(below), where=below > 0)
    return float(f.max())


class Edge(AlignedMetrics):
    """Metrics of edges."""

    name = "edge"
    metrics = (
        rmse_of("edge"),
        Metric(
            task="edge",
            name="ods_f",
            head="ODS F",
            unit="percent",
            higher_is_better=True,
            about="if edges are 0 or 1: the best F over thresholds 0.01, 0.02, ... 0.99 on the "
            "sigmoid of the output, one threshold for the whole set. A predicted edge pixel is "
            "right within 0.0075 of the image's diagonal of a true one (Euclidean, many to one), a "
            "true one is found within the same distance of a predicted one; edges are not thinned, "
            "so this is not the F of the BSDS benchmark",
        ),
    )
    set_sums = (
        "of each level 0 to 99 (thresholds 0.01 to 0.99 reached), predicted pixels without a true "
        "edge near them, those with one, and true edge pixels by the highest level near them"
    )
    set_sums_if = "its targets are 0 or 1"
    second_delta_without = True

    def other_scores(self, groups: Sequence[Array], set_sums: Array | None) -> Scores:
        return {} if set_sums is None else {"ods_f": 100.0 * ods_f(set_sums)}

    def transform(self, output: Any, scoring: Scoring) -> Any:
        return output.sigmoid() if scoring.edge_sigmoid else output

    def scoring_words(self, scoring: Scoring, unit: str) -> str:
        output = "sigmoid of the raw output" if scoring.edge_sigmoid else "raw output"
        return f"{output}, targets {unit}"

    def coloured(self, values: Array, low: float, high: float) -> colours.Picture:
        return colours.grey(values, low, high)


TASK_METRICS = Edge()
