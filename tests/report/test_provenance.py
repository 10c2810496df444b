"""The page's manifests: shared entries once, and nothing lost."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.synthetic import add_cell, compared, gains

from ttt_bench.report.provenance import common, provenance, rest

KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.integers(0, 2), lambda inner: st.dictionaries(KEYS, inner) | st.lists(inner)
)
MANIFESTS = st.lists(st.dictionaries(KEYS, VALUES), min_size=1, max_size=3)


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return two nested dicts as one."""
    found = copy.deepcopy(first)
    for key, value in second.items():
        found[key] = merged(found[key], value) if key in found else value
    return found


@given(MANIFESTS)
def test_shared_and_other_entries_are_the_manifest(manifests: list[dict[str, Any]]) -> None:
    shared = common(manifests)
    for manifest in manifests:
        assert merged(shared, rest(manifest, shared)) == manifest


def test_entries_are_stated_once(tmp_path: Path) -> None:
    for seed in (0, 1):
        add_cell(tmp_path, "tent", gains(0, 1), config=f"t{seed}", seed=seed)
    add_cell(tmp_path, "norm", gains(0, 1), config="n0", manifest={"options": {"accumulate": True}})
    (comparison,) = compared(tmp_path)
    found = provenance(comparison.cells)
    assert found.count == 3
    assert json.loads(found.shared)["preset"] == "quick"
    norm, tent = found.rows
    assert (norm.label, tent.label) == ("Norm", "TENT")
    assert json.loads(norm.shared)["options"] == {"accumulate": True}
    assert json.loads(tent.shared) == {"method": "tent"}
    assert [json.loads(text) for text in tent.cells.values()] == [{"seed": 0}, {"seed": 1}]
    assert list(norm.cells) == ["Norm, seed 0: done, configuration n0"]
    assert "digest" not in found.shared
