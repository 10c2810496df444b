"""`results merge`: the joined folder is that of one run with all cells."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command import call, refused
from support.stored import (
    contents_of,
    flip,
    put_cell,
    put_checkpoint,
    put_everything,
    put_failed,
    put_study,
    put_timing,
)
from support.synthetic import build

from ttt_bench.results import store
from ttt_bench.results.maintenance.contents import Kind
from ttt_bench.results.maintenance.merge import merge
from ttt_bench.results.study_files import read_study
from ttt_bench.util.claims import Claims
from ttt_bench.util.progress import Silent


def test_parts_of_a_folder_join_to_the_whole_in_any_order(tmp_path: Path) -> None:
    whole = build(tmp_path / "whole")
    parts = [tmp_path / "first", tmp_path / "second"]
    for number, folder in enumerate(sorted(whole.glob("cells/*/*"))):
        for part in parts if number == 0 else [parts[number % 2]]:
            shutil.copytree(folder, part / folder.relative_to(whole))
    for name, order in (("ab", parts), ("ba", parts[::-1])):
        into = tmp_path / name
        merged = merge(order, into, Silent())
        assert merged.complete
        assert merged.equal == {Kind.CELL: 1}
        # equal files give equal reports
        assert contents_of(into) == contents_of(whole)


def test_every_kind_is_copied_and_a_second_merge_copies_nothing(tmp_path: Path) -> None:
    put_everything(tmp_path / "a")
    into = tmp_path / "into"
    first = merge([tmp_path / "a"], into, Silent())
    assert first.complete
    expected = contents_of(tmp_path / "a")
    for name in [name for name in expected if name.startswith(("launched/", "compacted/"))]:
        del expected[name]
    expected = {name: content for name, content in expected.items() if ".partial." not in name}
    assert contents_of(into) == expected
    again = merge([tmp_path / "a"], into, Silent())
    assert again.copied == {}
    assert again.equal == {**first.copied}
    assert contents_of(into) == expected


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_other_rows_of_one_cell_are_a_conflict(tmp_path: Path, order: tuple[int, int]) -> None:
    values = (1.5, 1.75)
    parts = [tmp_path / "a", tmp_path / "b"]
    folders = [put_cell(part, value=value) for part, value in zip(parts, values, strict=True)]
    put_cell(parts[1], "base", "decade")
    into = tmp_path / "into"
    merged = merge([parts[n] for n in order], into, Silent())
    (line,) = merged.conflicts
    assert all(str(folder) in line for folder in folders)
    assert "the largest difference is 0.25 " in line
    assert "1.5 and 1.75" in line
    assert not merged.complete
    assert [path.name for path in sorted(into.glob("cells/*/*"))] == ["base-decade"]


def test_a_conflict_with_the_joined_folder_overwrites_nothing(tmp_path: Path) -> None:
    put_cell(tmp_path / "a", value=2.5)
    put_cell(tmp_path / "into", value=1.5)
    before = contents_of(tmp_path / "into")
    done = call("results", "merge", tmp_path / "a", "--into", tmp_path / "into")
    assert done.returncode == 1
    assert "largest difference is 1 " in done.stderr
    assert contents_of(tmp_path / "into") == before


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_finished_cell_is_taken_before_a_failed_one(
    tmp_path: Path, order: tuple[int, int]
) -> None:
    parts = [tmp_path / "a", tmp_path / "b"]
    put_failed(parts[0])
    put_cell(parts[1])
    merged = merge([parts[n] for n in order], tmp_path / "into", Silent())
    assert merged.complete
    assert "failed" in merged.notes[0]
    assert contents_of(tmp_path / "into") == contents_of(parts[1])


def test_equal_rows_with_another_provenance_are_equal_whatever_the_order(tmp_path: Path) -> None:
    parts = [tmp_path / "a", tmp_path / "b"]
    for part in parts:
        put_cell(part, provenance={"threads": part.name})
    found = []
    for name, order in (("ab", parts), ("ba", parts[::-1])):
        assert merge(order, tmp_path / name, Silent()).equal == {Kind.CELL: 1}
        found.append(contents_of(tmp_path / name))
    assert found[0] == found[1]


def test_damaged_copies_are_left_out_or_replaced(tmp_path: Path) -> None:
    for name in ("a", "into"):
        put_cell(tmp_path / name)
        put_cell(tmp_path / name, "base", "decade")
    flip(tmp_path / "a" / "cells" / "a+b" / "tent-c0ffee" / "rows.parquet", 800)
    broken = tmp_path / "into" / "cells" / "a+b" / "base-decade" / "rows.parquet"
    flip(broken, 800)
    merged = merge([tmp_path / "a"], tmp_path / "into", Silent())
    assert [str(tmp_path / "a") in line for line in merged.left_out] == [True]
    assert [str(broken) in line for line in merged.notes] == [True]
    assert merged.copied == {Kind.CELL: 1}
    assert len(list(store.cells(tmp_path / "into"))) == 2
    assert (tmp_path / "into" / "quarantine" / "cells" / "a+b" / "base-decade").is_dir()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_cell_is_kept_without_its_damaged_history(tmp_path: Path, order: tuple[int, int]) -> None:
    parts = [tmp_path / "a", tmp_path / "b"]
    for part in parts:
        cell = put_cell(part)
        flip(cell / "attempts.json", 8)
    merged = merge([parts[n] for n in order], tmp_path / "into", Silent())
    assert merged.complete
    assert "attempts.json is damaged" in merged.notes[0]
    joined = tmp_path / "into" / cell.relative_to(parts[1])
    names = {path.name for path in cell.iterdir()} - {"attempts.json"}
    assert {path.name for path in joined.iterdir()} == names
    assert (joined / "rows.parquet").read_bytes() == (cell / "rows.parquet").read_bytes()
    assert store.read_attempts(joined)["attempts"] == []


def test_a_whole_history_is_taken_before_a_damaged_one(tmp_path: Path) -> None:
    flip(put_cell(tmp_path / "a") / "attempts.json", 8)
    whole = put_cell(tmp_path / "b") / "attempts.json"
    merged = merge([tmp_path / "b", tmp_path / "a"], tmp_path / "into", Silent())
    joined = tmp_path / "into" / whole.relative_to(tmp_path / "b")
    assert merged.complete
    assert joined.read_bytes() == whole.read_bytes()


def test_studies_are_joined_and_the_newest_time_is_taken(tmp_path: Path) -> None:
    parts = [tmp_path / "a", tmp_path / "b"]
    paths = [put_study(part, cell) for part, cell in zip(parts, ("one", "two"), strict=True)]
    times = [put_timing(part, year, 2) for part, year in zip(parts, ("2026", "2027"), strict=True)]
    for name, order in (("ab", parts), ("ba", parts[::-1])):
        merged = merge(order, tmp_path / name, Silent())
        assert merged.complete
        assert read_study(tmp_path / name / "studies" / paths[0].name).cells == {"one", "two"}
        taken = tmp_path / name / times[1].relative_to(parts[1])
        assert (taken / "manifest.json").read_bytes() == (times[1] / "manifest.json").read_bytes()
    assert contents_of(tmp_path / "ab") == contents_of(tmp_path / "ba")


def test_other_tensors_under_one_name_are_a_conflict(tmp_path: Path) -> None:
    first, second = put_checkpoint(tmp_path / "a", 1.0), put_checkpoint(tmp_path / "b", 2.0)
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "into", Silent())
    (line,) = merged.conflicts
    assert str(first) in line
    assert str(second) in line
    assert not list(tmp_path.glob("into/checkpoints/*.safetensors"))


def test_a_cell_that_a_process_is_writing_is_left_out(tmp_path: Path) -> None:
    folder = put_cell(tmp_path / "a")
    with Claims(tmp_path / "into" / ".claims").attempt(folder.name):
        merged = merge([tmp_path / "a"], tmp_path / "into", Silent())
    assert "merge again later" in merged.left_out[0]
    assert merge([tmp_path / "a"], tmp_path / "into", Silent()).complete


def test_folders_that_cannot_be_merged_are_one_line(tmp_path: Path) -> None:
    put_cell(tmp_path / "a")
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    command = ("results", "merge", tmp_path / "a")
    assert "name another one" in refused(*command, "--into", tmp_path / "a")
    assert "is inside the source" in refused(*command, "--into", tmp_path / "a" / "b")
    assert "need a folder on this machine" in refused(*command, "--into", "s3://bucket/all")
    assert "is not a folder" in refused(*command, "--into", tmp_path / "file")
    assert "is not a results folder" in refused(*command, "--into", tmp_path / "full")
    assert "does not exist" in refused(*command, tmp_path / "b", "--into", tmp_path / "new")
    assert not (tmp_path / "new").exists()
