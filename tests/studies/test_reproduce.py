"""Cells that are run again from their manifests."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command import call, refused
from support.runs import plan

from ttt_bench.analysis.comparing.cell_differences import Difference
from ttt_bench.config.merging import make_request
from ttt_bench.config.request_record import recorded_fields
from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.studies.reproduce import (
    Here,
    Recorded,
    Repeated,
    differing,
    plan_repeat,
    read_record,
)
from ttt_bench.sweep.cell import Cell
from ttt_bench.sweep.plan import plan_sweep
from ttt_bench.sweep.resolve import resolve
from ttt_bench.util.progress import Silent


def again(cell: Cell, results: Path) -> list[Cell]:
    """Return the cells of the request that the manifest of a cell would record."""
    record = {**cell.variant.request, "protocol": [cell.protocol], "seeds": [cell.seed]}
    preset = cell.opened.preset.model_dump(mode="json", exclude={"methods"})
    fields = json.loads(json.dumps(recorded_fields(record, preset)))
    return plan_sweep(resolve(make_request(fields, {"results": results})), Silent()).cells


SEATS = {"classes": ["seat", "flat"], "rooms": [[3, 6], [1, 4]]}
REQUESTS: dict[str, dict[str, Any]] = {
    "usual": {"methods": ("tent",), "protocol": "episodic"},
    "settings": {
        "methods": ("s4t",),
        "pair": ("rooms:rooms+fog@s2",),
        "control": ("frozen",),
        "seeds": (3,),
        "steps": 2,
        "stream": "shuffled",
        "agreement": True,
        "deterministic": True,
        "set": {"s4t.mask_ratio": 0.5, "s4t.lr": 1e-6, "data.sizes.target": [32, 64], "batch": 2},
    },
    "authors": {"methods": ("nc_ttt",), "hparams": "original", "data_variant": "official"},
    "label space": {
        "methods": ("base",),
        "label_space": "seats",
        "label_spaces": {"seats": SEATS, "unused": SEATS},
    },
}


@pytest.mark.parametrize("given", REQUESTS.values(), ids=REQUESTS)
def test_the_recorded_request_gives_the_same_cell(given: dict[str, Any], tmp_path: Path) -> None:
    (cell,) = plan(tmp_path, **given).cells
    (found,) = again(cell, tmp_path)
    assert found.identity == cell.identity
    assert found.variant.request.keys() == cell.variant.request.keys()


@pytest.fixture(scope="module")
def record(swept: Path) -> Recorded:
    (folder,) = (
        folder
        for folder, one in store.cells(swept)
        if (one["method"], one["protocol"]) == ("tent", "online")
    )
    return read_record(folder / "manifest.json")


def changed(record: Recorded, **provenance: Any) -> Recorded:
    """Return a record whose manifest states other provenance."""
    manifest = copy.deepcopy(dict(record.manifest))
    manifest["provenance"] |= provenance
    return replace(record, manifest=manifest)


def test_a_cell_is_computed_again_bit_for_bit(
    record: Recorded, swept: Path, tmp_path: Path
) -> None:
    # its source model need not be trained again
    shutil.copytree(swept / "checkpoints", tmp_path / "again" / "checkpoints")
    done = call("reproduce", record.folder, "--results", tmp_path / "again", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert (found["state"], found["bit_equal"], found["largest"]) == ("done", True, 0.0)
    assert found["differs"] == {}
    assert {one["table"] for one in found["numbers"]} == {
        *("rows", "statistics", "totals", "signals", "losses")
    }
    assert (tmp_path / "again" / "cells").is_dir()


def test_other_data_are_refused_by_name(record: Recorded, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"the data here are not those of the record \(source_da"):
        plan_repeat(changed(record, source_data="other"), Here(results=tmp_path), Silent())
    assert list(tmp_path.iterdir()) == []


def test_a_plugin_that_is_missing_is_named(record: Recorded, tmp_path: Path) -> None:
    plugin = {"name": "their_method", "package": "theirs", "version": "1.2"}
    plugins = {**record.manifest["provenance"]["plugins"], "method": plugin}
    with pytest.raises(BenchError, match=r"their_method is not installed.* theirs 1.2"):
        plan_repeat(changed(record, plugins=plugins), Here(results=tmp_path), Silent())


def test_manifests_of_earlier_versions_and_wrong_folders_are_refused(
    record: Recorded, swept: Path, tmp_path: Path
) -> None:
    old = Path(__file__).parents[1] / "historic/schema_1/cells/rooms+rooms-mix/base-12dedd09c9c1"
    assert "does not hold the request" in refused("reproduce", old)
    assert "is no cell" in refused("reproduce", tmp_path)
    with pytest.raises(BenchError, match="contains the recorded cell itself"):
        plan_repeat(record, Here(results=swept), Silent())


def test_what_differs_between_two_computations_is_named(record: Recorded) -> None:
    other = changed(record, threads=96, harness="other").manifest
    found = differing(record.manifest, other)
    assert found.keys() == {"number of threads", "code of ttt-bench"}
    assert found["number of threads"][1] == "96"


def test_the_tolerance_is_about_scores(record: Recorded) -> None:
    def repeated(rows: float, losses: float, state: str = "done") -> Repeated:
        numbers = [
            Difference(table=name, quantity="x", numbers=1, largest=value)
            for name, value in (("rows", rows), ("losses", losses))
        ]
        return Repeated(recorded=record, folder=Path(), state=state, numbers=numbers)

    assert repeated(0.0, 0.0).within(0)
    assert not repeated(0.0, 1e-9).within(0)
    assert repeated(1e-3, 5.0).within(1e-3)
    assert not repeated(2e-3, 0.0).within(1e-3)
    assert not repeated(0.0, 0.0, state="failed").within(1)
