"""Cells that are split into shards."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command import Signalling, call, refused
from support.notices import Notices
from support.runs import plan, run

from ttt_bench.adapt.record import Record
from ttt_bench.adapt.shard_record import ShardRecord, merged
from ttt_bench.results import store
from ttt_bench.sweep.runner import Runner
from ttt_bench.sweep.shared.shards import shards_of

SPLIT = {"methods": "tent,s4t", "protocol": "episodic"}


def _assert_equal(results: Path, other: Path) -> None:
    """Assert that all files of cells but their histories are equal in bytes."""
    folders = [folder for folder, _ in store.cells(results)]
    assert len(folders) == 2
    for folder in folders:
        for path in folder.iterdir():
            if path.name != "attempts.json":
                assert path.read_bytes() == (other / path.relative_to(results)).read_bytes()


def test_the_files_of_a_split_cell_are_equal_bit_for_bit(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "checkpoints", tmp_path / "checkpoints")
    (*_, cell) = plan(tmp_path, **SPLIT).cells
    borders = [(shard.start, shard.stop) for shard in shards_of(cell, 100)]
    assert len(borders) > 1
    assert borders == [(batch, batch + 1) for batch in range(len(borders))]
    assert run(tmp_path, shards=100, **SPLIT).computed == {"done": 2}
    _assert_equal(tmp_path, swept)
    assert not list(tmp_path.rglob("*.partial.safetensors"))


def test_shards_outlive_a_stop_and_a_damaged_one_is_measured_again(
    swept: Path, tmp_path: Path
) -> None:
    shutil.copytree(swept / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(KeyboardInterrupt):
        Runner(plan(tmp_path, shards=2, **SPLIT), Signalling(signal.SIGTERM, "shard 2")).run()
    first, _ = sorted(tmp_path.rglob("*.shard-*"))
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(content)
    display = Notices()
    outcome = Runner(plan(tmp_path, shards=2, **SPLIT), display).run()
    assert outcome.computed == {"done": 2}
    assert display.heard(first.name, "damaged", "quarantine")
    _assert_equal(tmp_path, swept)


def test_sums_are_added_in_the_order_of_batches() -> None:
    # with these values, another order of addition gives another sum
    values = [1e16, 1.0, -1e16, 1.0]
    batches = [[number] for number in range(len(values))]
    whole = Record(batches=batches, steps=0)
    parts = [ShardRecord(batches=batches, steps=0) for _ in range(2)]
    for number, value in enumerate(values):
        for record in (whole, parts[number // 2]):
            record.add(slice(0, 1), {"depth": torch.tensor([[value]], dtype=torch.float64)})
            sums = torch.full((1, 1, 2), value, dtype=torch.float64)
            record.put([number], slice(0, 1), {"depth": sums})
            record.put_signal("change.depth", number, 0, np.array([value]))
            record.losses.append((number, 0, "loss", value))
    read = []
    for part in parts:
        read.append(ShardRecord(batches=batches, steps=0, losses=part.losses))
        read[-1].from_tensors(part.to_tensors())
    found = merged(read, Record(batches=batches, steps=0))
    assert found.set_sums["depth"].tolist() == whole.set_sums["depth"].tolist() == [[1.0]]
    assert found.image_sums["depth"].tolist() == whole.image_sums["depth"].tolist()
    assert found.signals["change.depth"].tolist() == whole.signals["change.depth"].tolist()
    assert found.losses == whole.losses


def test_shards_need_a_protocol_with_independent_batches(tmp_path: Path) -> None:
    said = refused("run", "--shards", "2", "--preset", "smoke", "--results", tmp_path)
    assert "--shards splits cells of the protocol episodic" in said


def test_workers_share_the_shards_of_one_cell(tmp_path: Path) -> None:
    options = ("--preset", "smoke", "--methods", "tent", "--protocol", "episodic", "--shards", "3")
    done = call("run", *options, "--results", tmp_path, "--workers", "2", "--dry-run")
    assert len(done.stdout.splitlines()) == 2
