"""Cells that are run again from their manifests."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command import call, refused
from support.runs import plan

from ttt_bench.analysis.comparing.cell_differences import Difference
from ttt_bench.config.preset import resolve_preset
from ttt_bench.config.tuned import Record, Trial, Tuned, TunedMethod, conditions_of
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
from ttt_bench.sweep.cell import Cell, Ending, manifest
from ttt_bench.sweep.plan import Sweep
from ttt_bench.util.progress import Silent


def again(sweep: Sweep, results: Path) -> list[Cell]:
    """Return the cells that the manifest of a sweep's only cell gives."""
    (cell,) = sweep.cells
    ending, cpu = Ending(state="done"), torch.device("cpu")
    written = manifest(cell, ending, request=sweep.request, device=cpu, contract={"contract": None})
    record = Recorded(folder=results / "other", manifest=json.loads(json.dumps(written)))
    return plan_repeat(record, Here(results=results), Silent()).cells


def tuned_file(path: Path) -> Path:
    """Write a file of `ttt-bench tune` with two methods, and return its path."""
    preset = resolve_preset("smoke", {})
    trials = (Trial(lr=2e-7, state="done", delta_ttt=1.0, config="a"),)
    method = TunedMethod(
        lr=2e-7, default_lr=1e-3, steps=3, optimiser={"momentum": 0.0}, trials=trials
    )
    content = Tuned(
        record=Record(pair="p", split="val", images=9, seed=0, trials=1, rule="first", version="0"),
        conditions=conditions_of(
            source="rooms", protocol="online", preset_name="smoke", preset=preset, weights=None
        ),
        methods={"tent": method, "actmad": method},
    )
    path.write_text(content.text(), encoding="utf-8")
    return path


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
    sweep = plan(tmp_path, **given)
    (found,) = again(sweep, tmp_path / "again")
    assert found.identity == sweep.cells[0].identity
    assert found.variant.request == sweep.cells[0].variant.request


def test_the_record_of_a_tuned_cell_needs_no_file(tmp_path: Path) -> None:
    file = tuned_file(tmp_path / "tuned.toml")
    sweep = plan(tmp_path, methods=("tent",), hparams="tuned", tuned=file, steps=3)
    file.unlink()
    (found,) = again(sweep, tmp_path / "again")
    assert found.identity == sweep.cells[0].identity
    assert found.settings.optimiser.lr == 2e-7


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
    stated = copy.deepcopy(dict(record.manifest))
    stated["provenance"] |= provenance
    return replace(record, manifest=stated)


def test_a_source_model_is_trained_on_as_many_devices(record: Recorded, tmp_path: Path) -> None:
    here = Here(results=tmp_path, device="cpu")
    two = changed(record, train_devices=2)
    assert plan_repeat(two, here, Silent()).request.train_devices == 2
    one = replace(here, train_devices=1)
    assert plan_repeat(two, one, Silent()).request.train_devices == 1


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
    assert "is not a cell" in refused("reproduce", tmp_path)
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
