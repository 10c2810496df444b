"""A step rule in another package, as docs/step-rules.md shows it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.examples import importable, pip_install
from support.paths import DOCS, TESTS
from support.trajectories import made

from ttt_bench.stats.step_rules import STEP_RULES, all_rules, chosen_steps

EXAMPLE = TESTS / "step_rule_example"
PAGE = DOCS / "step-rules.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the example into a folder from which it can be imported."""
    folder = tmp_path_factory.mktemp("site")
    pip_install(EXAMPLE, folder)
    with importable(folder, "calmest_step"):
        yield folder


def test_the_page_shows_the_example_and_every_rule() -> None:
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", page, re.DOTALL)
    assert (EXAMPLE / "calmest_step.py").read_text(encoding="utf-8") in blocks
    assert (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8") in blocks
    assert set(re.findall(r"^\| `(\w+)` \| the (?:first|last|one)", page, re.MULTILINE)) == {
        rule.name for rule in all_rules().rules
    }


def test_an_installed_rule_is_one_of_the_rules(installed: Path) -> None:
    assert all_rules().rules[-1].name == "calmest"
    assert STEP_RULES.entry("calmest").origin == "calmest-step 0.1"
    found = made([[0] * 4] * 2, {"change": [[float("nan"), 4, 1, 2], [float("nan")] * 4]})
    assert chosen_steps(STEP_RULES.load("calmest"), found).tolist() == [2, -1]
