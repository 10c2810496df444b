"""Measured and published times compared by their ratios."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from ttt_bench.report.timing.shape import ratios, shapes
from ttt_bench.results.measurements import Measurement
from ttt_bench.results.timings import whole

PUBLISHED = {"actmad": 2.0, "ttt": 4.0, "clust3": 1.0}


def _timed(method: str, predict: float, step: float, measured: int = 4) -> Measurement:
    rows = pd.DataFrame(
        {
            "phase": ["predict", "step", "steps"],
            "steps": [0, 1, measured],
            "median": [predict, step, predict + measured * step],
        }
    )
    return Measurement(key="", manifest={"method": method, "steps": 4}, rows=rows)


def test_ratios_are_to_actmad() -> None:
    assert ratios(PUBLISHED) == {"actmad": 1.0, "ttt": 2.0, "clust3": 0.5}
    assert ratios({"ttt": 4.0}) == {}


def test_the_phase_with_the_published_ratios_is_nearest() -> None:
    found = [
        _timed("actmad", 0.1, 20.0),
        _timed("ttt", 0.1, 40.0),
        _timed("clust3", 0.1, 10.0),
        _timed("tent", 0.1, 500.0),
    ]
    nearest, *_, farthest = shapes(found, PUBLISHED)
    assert (nearest.phase, nearest.methods) == ("step", 3)
    assert nearest.distance == pytest.approx(1)
    assert nearest.rank_correlation == pytest.approx(1)
    # equal times differ from ratios of 2 and 1/2 by a factor of 2
    assert farthest.phase == "predict"
    assert farthest.distance == pytest.approx(2)
    assert math.isnan(farthest.rank_correlation)


def test_without_actmad_there_is_no_comparison() -> None:
    assert (
        shapes([_timed("ttt", 1, 1), _timed("clust3", 1, 1), _timed("s4t", 1, 1)], PUBLISHED) == []
    )


def test_fewer_steps_are_extended_beyond_one_prediction() -> None:
    one = _timed("ttt", 1.0, 3.0, measured=2)  # 1 + 2 * 3 = 7 seconds
    assert whole(one) == {"predict": 1.0, "step": 3.0, "steps": 1 + 2 * 6.0}
