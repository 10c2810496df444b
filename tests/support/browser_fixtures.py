"""Fixtures: Chromium, the reports whose pages it shows, and a function that opens them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support import synthetic
from support.browser import Opened, chromium, missing_parts, opened
from support.paths import ROOT
from ttt_bench.report.render import report

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium once for all tests."""
    if reason := missing_parts():
        pytest.skip(reason)
    with chromium() as started:
        yield started


def _made(folder: Path) -> Path:
    """Write results of a few methods with frozen controls, and return their folder."""
    synthetic.build(folder)
    for seed in (0, 1, 2):
        scores = synthetic.gains(5, 5, 5, 5)
        synthetic.add_cell(folder, "tent", scores, config=f"f{seed}", seed=seed, control="frozen")
    return folder


@pytest.fixture(scope="session", params=["made", "example"])
def shown_report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of a report: of made results in seconds, of the committed example in 30 s."""
    if request.param == "made":
        results = _made(tmp_path_factory.mktemp("results"))
    else:
        results = ROOT / "results" / "example"
    return report(results, tmp_path_factory.mktemp("shown") / request.param).page


@pytest.fixture
def open_page(browser: Browser, shown_report: Path) -> Iterator[Open]:
    """Return a function that opens the page in a new tab, with the arguments of `opened`."""
    with ExitStack() as stack:

        def start(**arguments: object) -> Opened:
            return stack.enter_context(opened(browser, shown_report, **arguments))

        yield start
