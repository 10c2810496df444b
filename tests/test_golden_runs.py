"""Every recorded run of an author's code gives the same numbers when our plugin replays it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.golden_runs import check
from support.paths import GOLDEN_RUNS

RUNS = sorted(GOLDEN_RUNS.glob("*.npz"))


def test_every_run_is_there() -> None:
    assert len(RUNS) == 12


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_the_plugin_repeats_the_recorded_run(path: Path) -> None:
    differences = check(path)
    assert differences.problems == []
    assert differences.failed() == [], differences.largest
