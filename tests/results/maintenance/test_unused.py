"""`results gc`: what no result needs is listed, and removed on demand."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from support.command import call, refused
from support.stored import contents_of, flip, put_cell, put_checkpoint, put_everything

from ttt_bench.results.checkpoints.named import named_checkpoints, statistics_name
from ttt_bench.results.compacted.parts import Part, write_part
from ttt_bench.results.maintenance.unused import Why, remove, unused
from ttt_bench.results.maintenance.verify import set_findings_aside, verify
from ttt_bench.results.rows import ALL
from ttt_bench.util import tensor_file
from ttt_bench.util.claims import Claims
from ttt_bench.util.progress import Silent


def leave(root: Path) -> dict[Why, set[Path]]:
    """Add what ended processes leave to a folder; return it."""
    spare = put_checkpoint(root, stage="spare")
    cell = put_cell(root, "base", "decade")
    finished = cell.with_name(".base-decade.partial.safetensors")
    temporary = cell.with_name(".x.tmp-00000000-1-aa")
    claim = root / ".claims" / "base-decade.claim"
    claim.parent.mkdir(exist_ok=True)
    for path in (finished, temporary, claim):
        path.write_bytes(b"x")
        os.utime(path, (0, 0))
    return {
        Why.UNUSED: {spare, spare.with_suffix(".times.json")},
        Why.FINISHED: {finished},
        Why.LEFTOVER: {temporary},
        Why.STALE: {claim},
    }


def test_what_ended_processes_left_is_listed_and_removed_on_demand(tmp_path: Path) -> None:
    put_everything(tmp_path)
    needed = contents_of(tmp_path)
    left = leave(tmp_path)
    everything = contents_of(tmp_path)
    done = call("results", "gc", tmp_path, "--json")
    listed = json.loads(done.stdout)
    assert done.returncode == 0
    assert {one["path"] for one in listed["unused"]} == {
        str(p) for own in left.values() for p in own
    }
    assert listed["removed"] == []
    assert contents_of(tmp_path) == everything
    sizes = {one["path"]: one["bytes"] for one in listed["unused"]}
    assert all(Path(path).stat().st_size == size for path, size in sizes.items())
    assert "5 removed" not in call("results", "gc", tmp_path).stdout
    assert "5 removed" in call("results", "gc", tmp_path, "--delete").stdout
    base = {name for name in everything if "/base-decade/" in name}
    assert contents_of(tmp_path) == {
        name: content for name, content in everything.items() if name in needed or name in base
    }
    assert call("results", "gc", tmp_path).stdout.startswith("0 not needed")


def test_rows_that_no_file_of_the_compacted_copy_names_are_listed_when_old(tmp_path: Path) -> None:
    put_everything(tmp_path)
    (new,) = (tmp_path / "compacted").iterdir()
    rows = pa.table({name: pa.array([], pa.string()) for name in ALL})
    cells, named = write_part(tmp_path, Part(cells=pa.table({"name": ["a"]}), rows=rows))
    old = new.with_name("rows-0.parquet")
    for path in (old, cells, named):
        path.touch()
        os.utime(path, (0, 0))
    listed = {item.path for item in unused(tmp_path).items if item.why is Why.UNREFERENCED}
    assert listed == {old}


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "s3://bucket/run"),
        ("gc", "s3://bucket/run"),
        ("merge", "{here}", "--into", "s3://bucket/run"),
        ("export", "{here}", "--to", "gs://bucket/run.zip"),
    ],
)
def test_urls_are_refused_in_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    message = refused("results", *(one.format(here=tmp_path) for one in arguments))
    assert "need a folder on this machine" in message
    assert "\n" not in message


def test_checkpoints_are_kept_while_a_process_computes(tmp_path: Path) -> None:
    put_everything(tmp_path)
    left = leave(tmp_path)
    with Claims(tmp_path / ".claims").attempt("tent-facade"):
        found = unused(tmp_path)
    assert Why.UNUSED not in {item.why for item in found.items}
    assert "claimed by running processes" in found.kept[0]
    found = unused(tmp_path)
    (spare, time) = sorted(left[Why.UNUSED])
    with Claims(tmp_path / "checkpoints" / ".claims").attempt(spare.stem):
        _, kept = remove(tmp_path, found.items)
    assert {str(path) in "".join(kept) for path in (spare, time)} == {True}
    assert spare.exists()


def test_checkpoints_are_kept_if_a_damaged_manifest_may_name_them(tmp_path: Path) -> None:
    files = put_everything(tmp_path)
    leave(tmp_path)
    flip(files["manifest"], 800)
    found = unused(tmp_path)
    assert Why.UNUSED not in {item.why for item in found.items}
    assert str(files["manifest"]) in found.kept[0]


def test_the_quarantine_is_removed_only_if_it_is_named(tmp_path: Path) -> None:
    rows = put_everything(tmp_path)["rows"]
    flip(rows, 800)
    set_findings_aside(tmp_path, verify(tmp_path, Silent()).findings)
    call("results", "gc", tmp_path, "--delete")
    assert (tmp_path / "quarantine").is_dir()
    call("results", "gc", tmp_path, "--delete", "--quarantine")
    assert not (tmp_path / "quarantine").exists()


def test_a_manifest_names_all_checkpoints_of_its_cell(swept: Path) -> None:
    manifests = [json.loads(path.read_text()) for path in swept.glob("cells/*/*/manifest.json")]
    named = set().union(*map(named_checkpoints, manifests))
    stored = {path.stem for path in (swept / "checkpoints").glob("*.safetensors")}
    assert stored
    assert stored <= named
    for path in (swept / "checkpoints").glob("statistics-*.safetensors"):
        about = tensor_file.description(path)
        assert path.stem in {statistics_name(one["method"], about) for one in manifests}
