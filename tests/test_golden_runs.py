"""Every recorded run of an author's code gives the same numbers when our plugin replays it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.golden_runs import check, read
from support.paths import GOLDEN_RUNS

from ttt_bench.registry import METHODS

RUNS = sorted(GOLDEN_RUNS.glob("*.npz"))


def test_every_run_is_there() -> None:
    assert len(RUNS) == 12


RENAMED = {"mix": "accumulate"}
"""Name of an option when the runs were recorded -> its name today."""


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_options_that_the_recorded_run_left_out_have_the_same_defaults(path: Path) -> None:
    meta = read(path)[0]
    options = METHODS.load(meta["method"]).Options(**meta["options"]).model_dump(mode="json")
    recorded = {RENAMED.get(name, name): value for name, value in meta["all_options"].items()}
    assert {name: value for name, value in options.items() if name in recorded} == recorded


@pytest.mark.parametrize(
    "path",
    # images as large as KITTI's take 15 seconds
    [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if "kitti" in path.stem else ())
        for path in RUNS
    ],
)
def test_the_plugin_repeats_the_recorded_run(path: Path) -> None:
    differences = check(path)
    assert differences.problems == []
    assert differences.failed() == [], differences.largest
