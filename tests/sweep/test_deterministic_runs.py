"""Runs with deterministic kernels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import plan, run
from support.toy import Toy

import ttt_bench
from ttt_bench.registry import METHODS


class Puts(Toy):
    """Uses an operation that has no deterministic kernel on any device."""

    name = "puts"

    def step(self, net: Any, images: Any, ctx: Any) -> Any:
        out = super().step(net, images, ctx)
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
        return out


@pytest.fixture(scope="module")
def deterministic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results folder of a deterministic run."""
    results = tmp_path_factory.mktemp("deterministic")
    with METHODS.extended({"puts": Puts}):
        run(results, methods=("base", "tent", "puts"), deterministic=True)
    return results


def manifests(results: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in results.glob("cells/*/*/manifest.json")]
    return {manifest["method"]: manifest for manifest in found}


def test_rows_on_a_cpu_do_not_depend_on_the_level(deterministic: Path, swept: Path) -> None:
    found, usual = ttt_bench.read_results(deterministic), ttt_bench.read_results(swept)
    usual = usual[usual.method.isin(["base", "tent"]) & (usual.protocol == "online")]
    for method in ("base", "tent"):
        ours, theirs = found[found.method == method], usual[usual.method == method]
        assert len(ours)
        assert ours["value"].tolist() == theirs["value"].tolist()
        assert set(ours["config"]).isdisjoint(theirs["config"])  # a key of its own


def test_manifests_record_the_level_and_a_failure_names_the_operation(deterministic: Path) -> None:
    found = manifests(deterministic)
    assert {one["provenance"]["kernels"] for one in found.values()} == {"deterministic"}
    assert found["puts"]["state"] == "failed"
    assert found["puts"]["reason"].startswith("method puts uses put_, which has no deterministic")
    assert not torch.are_deterministic_algorithms_enabled()


def test_source_models_of_the_levels_are_kept_apart(tmp_path: Path) -> None:
    keys = [
        plan(tmp_path, methods=("base",), deterministic=level).cells[0].parent
        for level in (False, True)
    ]
    assert keys[0] != keys[1]
