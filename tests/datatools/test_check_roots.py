"""Which data sets `data check` finds, and its messages on other folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.files import nyud_files, pascal_files, taskonomy_files

from ttt_bench.datatools.check import check, exit_code
from ttt_bench.util.progress import Silent


def messages(root: Path, **options: Any) -> str:
    return "\n".join(finding.message for finding in check(root, Silent(), **options))


def test_every_data_set_below_a_data_root_is_checked(tmp_path: Path) -> None:
    taskonomy_files.write(tmp_path / "taskonomy", ["ihlen"])
    nyud_files.write(tmp_path / "nyud" / "NYUDv2")
    pascal_files.write(tmp_path / "pascal")
    findings = check(tmp_path, Silent(), store=True)
    assert exit_code(findings) == 0
    titles = {finding.message.split(": ")[0] for finding in findings}
    assert titles == {"Taskonomy", "NYUD-v2", "PASCAL-Context"}
    for folder in ("taskonomy", "nyud/NYUDv2", "pascal"):
        assert json.loads((tmp_path / folder / "ttt-bench.json").read_text())["checked"]


@pytest.mark.parametrize("folder", ["", "NYUDv2", "NYUD_MT"])
def test_a_data_sets_own_folder_may_be_given(tmp_path: Path, folder: str) -> None:
    nyud_files.write(tmp_path / "mine" / folder)
    assert "the ATRC release" in messages(tmp_path / "mine")


def test_the_message_on_an_unknown_folder_lists_the_known_ones_nearest_first(
    tmp_path: Path,
) -> None:
    for name in ("JPEGImages", "normals_distil", "semseg"):
        (tmp_path / "a" / name).mkdir(parents=True)
    (finding,) = check(tmp_path / "a", Silent())
    assert exit_code([finding]) == 2
    assert "has images of PASCAL VOC without the Context lists" in finding.message
    for name in ("segmentation", "depths"):
        (tmp_path / "b" / name).mkdir(parents=True)
    (finding,) = check(tmp_path / "b", Silent())
    assert "holds depths, segmentation" in finding.message
    assert "depths: did you mean depth?" in finding.message
    known = [
        finding.message.index(f"{title}: ") for title in ("NYUD-v2", "Taskonomy", "PASCAL-Context")
    ]
    assert known[0] == min(known)
    (tmp_path / "c" / "normals").mkdir(parents=True)
    (tmp_path / "c" / "depth_zbufer").mkdir()
    (tmp_path / "c" / "rgb").touch()
    (finding,) = check(tmp_path / "c", Silent())
    assert "depth_zbufer: did you mean depth_zbuffer?" in finding.message


def test_a_missing_or_empty_root_is_an_error(tmp_path: Path) -> None:
    (finding,) = check(tmp_path / "nowhere", Silent())
    assert (finding.level, finding.check) == ("error", "layout")
    assert "does not exist" in finding.message
    assert "is empty" in messages(tmp_path)


def test_a_damaged_manifest_is_an_error(tmp_path: Path) -> None:
    for write in (nyud_files.write, lambda root: taskonomy_files.write(root, ["ihlen"])):
        root = write(tmp_path / str(len(list(tmp_path.iterdir()))))
        for content in (b"{", b"\xff", b"[]"):
            (root / "ttt-bench.json").write_bytes(content)
            findings = check(root, Silent())
            assert exit_code(findings) == 2
            assert "ttt-bench.json is damaged" in findings[0].message
            assert "delete it" in findings[0].message


def test_other_entries_of_the_manifest_are_kept(tmp_path: Path) -> None:
    nyud_files.write(tmp_path)
    (tmp_path / "ttt-bench.json").write_text('{"derived": {"edge": "somehow"}, "mine": 3}')
    check(tmp_path, Silent(), store=True)
    kept = json.loads((tmp_path / "ttt-bench.json").read_text())
    assert kept["derived"] == {"edge": "somehow"}
    assert kept["mine"] == 3
    assert len(kept["checked"]) == 2
