"""A network of another package: the example of the page, installed, checked and planned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import call
from support.examples import importable, unpack_wheel
from support.paths import DOCS, TESTS
from support.runs import plan

from ttt_bench.config.preset import ModelConfig
from ttt_bench.conformance.networks import assert_network_conforms
from ttt_bench.model.architecture import network_fields
from ttt_bench.registry import NETWORKS
from ttt_bench.sweep.cell import Cell

EXAMPLE = TESTS / "network_example"
PAGE = DOCS / "adding-a-network.md"
SETTINGS = {"model.architecture": "pyramid", "model.architecture_args": {"width": 8}}


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """Make the example importable during a test."""
    unpack_wheel(EXAMPLE, tmp_path / "site")
    with importable(tmp_path / "site", "pyramid_network") as folder:
        yield folder


def test_the_page_shows_the_example() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", text, re.DOTALL)
    assert (EXAMPLE / "pyramid_network.py").read_text(encoding="utf-8") in blocks
    assert (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8") in blocks


def test_it_is_found_and_conforms(installed: Path) -> None:
    assert NETWORKS.entry("pyramid").origin == "pyramid-network 0.1"
    assert "pyramid-network" in call("networks", "list").stdout
    assert_network_conforms(NETWORKS.load("pyramid"), {"model.architecture_args": {"width": 8}})


def test_its_code_and_options_are_in_the_keys_and_its_package_in_the_manifest(
    installed: Path, tmp_path: Path
) -> None:
    def planned() -> Cell:
        (cell,) = plan(tmp_path, methods=("base",), set=SETTINGS).cells
        return cell

    def fields(**options: int) -> dict[str, Any]:
        return network_fields(ModelConfig(architecture="pyramid", architecture_args=options))

    assert fields() == fields(width=64) != fields(width=8)
    before = planned()
    record = before.variant.plugins["network"]
    assert (record["name"], record["package"]) == ("pyramid", "pyramid-network")
    source = installed / "pyramid_network.py"
    source.write_text(source.read_text(encoding="utf-8") + "\nCHANGED = 1\n", encoding="utf-8")
    after = planned()
    assert after.hash != before.hash
    assert after.chain[0].key != before.chain[0].key
