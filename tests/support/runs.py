"""Small runs through the Python interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from support.stopping import Stopping
from ttt_bench.config.merging import make_request
from ttt_bench.config.request import Request
from ttt_bench.results import store
from ttt_bench.sweep.outcome import Outcome
from ttt_bench.sweep.plan import Sweep, plan_sweep
from ttt_bench.sweep.resolve import resolve
from ttt_bench.sweep.runner import Runner
from ttt_bench.util.progress import Progress, Silent

LINE = ("base", "norm", "tent", "s4t")
"""A few methods that differ in what they need and do."""


def request(results: Path, **given: Any) -> Request:
    return make_request({}, {"preset": "smoke", "results": results, "device": "cpu", **given})


def plan(results: Path, progress: Progress | None = None, **given: Any) -> Sweep:
    """Plan a small run; nothing is computed."""
    return plan_sweep(resolve(request(results, **given)), progress or Silent())


def run(results: Path, **given: Any) -> Outcome:
    """Plan a small run and compute it."""
    return Runner(plan(results, **given), Silent()).run()


def stored_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Return every table of a cell, by name."""
    present = [name for name in store.TABLES if (folder / f"{name}.parquet").exists()]
    return {name: store.read_table(folder, name) for name in present}


def primary(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[
        rows.metric
        == rows.task.map({"semseg": "miou", "depth": "rmse", "normals": "merr", "edge": "rmse"})
    ]


def interrupt(results: Path, **given: Any) -> None:
    """Interrupt a run in the second half of its adaptation; every unit of work is saved."""
    stopping = Stopping(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        Runner(plan(results, **given), stopping, save_seconds=0).run()
