"""Fixtures: one synthetic results folder, its comparison and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import synthetic
from ttt_bench.report.render import Rendered, report
from ttt_bench.stats.comparison import Comparison


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results folder of `synthetic.build`."""
    return synthetic.build(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def rendered(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    """Return the report of `results`."""
    return report(results, tmp_path_factory.mktemp("reports") / "new")


@pytest.fixture(scope="session")
def comparison(results: Path) -> Comparison:
    """Return the only comparison of `results`."""
    (only,) = synthetic.compared(results)
    return only
