"""The page under axe-core, which checks the rules of WCAG that a program can check."""

from __future__ import annotations

from typing import Any

import pytest
from support.browser_fixtures import Open

pytestmark = pytest.mark.browser
REFUSED = ("serious", "critical")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1440])
def test_axe_finds_no_serious_violation(open_page: Open, width: int, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(open_page(width=width, scheme=scheme).page).response
    assert len(found["passes"]) > 10
    assert [told(one) for one in found["violations"] if one["impact"] in REFUSED] == []


def told(violation: dict[str, Any]) -> str:
    """Return a violation with the first elements that have it."""
    nodes = violation["nodes"]
    summary = "; ".join(f"{node['target']}: {node['failureSummary']}" for node in nodes[:3])
    return f"{violation['id']} ({violation['impact']}), {len(nodes)} elements: {summary}"
