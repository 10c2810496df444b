"""The studies of a results folder on disk."""

from __future__ import annotations

from pathlib import Path

from ttt_bench.designs.declared_studies import declared
from ttt_bench.results.study_files import ArmFile, StudyFile, read_studies, write_study


def _file(*seeds: int, study: str = "masking") -> StudyFile:
    arms = tuple(
        ArmFile(label=arm.label, cells=tuple(f"{arm.label[0]}{seed}" for seed in seeds))
        for arm in declared(study).all_arms
    )
    return StudyFile(study=declared(study), pair="rooms:rooms-mix", key="0123456789ab", arms=arms)


def test_cells_of_further_seeds_are_added(tmp_path: Path) -> None:
    path = write_study(tmp_path, _file(0, 1), print)
    assert write_study(tmp_path, _file(1, 2), print) == path
    found, problems = read_studies(tmp_path)
    assert found == [_file(0, 1, 2)]
    assert not problems


def test_another_declaration_replaces_the_stored_one(tmp_path: Path) -> None:
    write_study(tmp_path, _file(0), print)
    changed = declared("masking").model_copy(update={"arms": declared("masking").arms[:2]})
    new = _file(1).model_copy(update={"study": changed, "arms": _file(1).arms[:2]})
    write_study(tmp_path, new, print)
    assert read_studies(tmp_path)[0] == [new]


def test_a_damaged_file_is_named_and_written_again(tmp_path: Path) -> None:
    path = write_study(tmp_path, _file(0), print)
    other = write_study(tmp_path, _file(0, study="components"), print)
    path.write_text(path.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    found, problems = read_studies(tmp_path)
    assert found == [_file(0, study="components")]
    assert len(problems) == 1
    assert str(path) in problems[0]
    damaged, notices = path.read_bytes(), []
    write_study(tmp_path, _file(1), notices.append)
    kept = tmp_path / "quarantine" / "studies" / path.name
    assert kept.read_bytes() == damaged
    assert [str(path) in notice and str(kept) in notice for notice in notices] == [True]
    assert read_studies(tmp_path) == ([_file(0, study="components"), _file(1)], [])
    assert other.exists()
