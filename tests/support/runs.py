"""Small runs through the Python interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ttt_bench.config.merging import make_request
from ttt_bench.config.request import Request
from ttt_bench.sweep.plan import plan_sweep
from ttt_bench.sweep.runner import Outcome, Runner
from ttt_bench.util.progress import Silent


def request(results: Path, **given: Any) -> Request:
    return make_request({}, {"preset": "smoke", "results": results, "device": "cpu", **given})


def run(results: Path, **given: Any) -> Outcome:
    return Runner(plan_sweep(request(results, **given), Silent()), Silent()).run()


def primary(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[
        rows.metric
        == rows.task.map({"semseg": "miou", "depth": "rmse", "normals": "merr", "edge": "rmse"})
    ]
