"""Pairs with more tasks than those of the papers: declared data sets, and PASCAL-Context."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import declared_files, pascal_files
from support.notices import Notices
from support.runs import plan, run

from ttt_bench.errors import BenchError
from ttt_bench.results import store
from ttt_bench.tasks import HUMAN_PARTS, PAPER_TASKS, TASKS

SET = {"data.tasks": list(TASKS)}
NO_CLASSES = {"data.tasks": ["depth"]}
PASCAL = {"pair": "pascal:pascal+fog@s3", "methods": "base"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    declared_files.write_west(tmp_path / "data" / "west")
    declared_files.write_east(tmp_path / "data" / "east")
    return tmp_path / "data"


def test_two_cities_with_other_tables_run_with_six_tasks(root: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = run(results, pair="west:east", methods="base,s4t", steps=1, data_root=root, set=SET)
    assert not done.failed
    rows = store.read_results(results)
    assert rows["task"].drop_duplicates().tolist() == list(TASKS)
    parts = rows[(rows["task"] == "human_parts") & (rows["metric"] == "iou")]
    assert parts["class"].drop_duplicates().tolist() == list(HUMAN_PARTS)
    classes = rows[(rows["task"] == "semseg") & (rows["metric"] == "iou")]["class"]
    assert classes.drop_duplicates().tolist() == ["road", "person", "sky"]
    records = [manifest["provenance"]["plugins"] for _, manifest in store.cells(results)]
    assert {record["target"]["package"] for record in records} == {"ttt-bench"}


def test_without_a_choice_a_pair_keeps_the_tasks_of_the_papers(root: Path, tmp_path: Path) -> None:
    (cell,) = plan(tmp_path / "r", pair="west:east", methods="base", data_root=root).cells
    assert cell.opened.tasks == PAPER_TASKS
    with pytest.raises(BenchError, match=r"names human_parts, saliency, which rooms does not have"):
        plan(tmp_path / "r", pair="rooms:east", methods="base", data_root=root, set=SET)
    with pytest.raises(BenchError, match="unknown task 'salience'; did you mean saliency"):
        plan(tmp_path / "r", pair="west:east", data_root=root, set={"data.tasks": "salience"})
    with pytest.raises(BenchError, match=r"tent needs semseg, which data\.tasks does not name"):
        plan(tmp_path / "r", pair="west:east", data_root=root, methods="tent", set=NO_CLASSES)


def test_splits_that_are_lists_of_one_folder_form_a_pair(root: Path, tmp_path: Path) -> None:
    given = {"pair": "east:east", "methods": "base", "data_root": root}
    assert len(plan(tmp_path / "r", **given).cells) == 1
    lists = root / "east/data/lists"
    (lists / "train.txt").write_text("train-0\ntest-1\n")
    with pytest.raises(BenchError, match=r"share 1 images \(test-1/image.png\)"):
        plan(tmp_path / "r", **given)


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("lane = 1\nwall = 2\nroof = 3", "share no class; give equal classes the same name in"),
        ("sky = 1\nwall = 2\nroof = 3", "share only the class sky, and two are needed; give equal"),
    ],
)
def test_a_pair_without_shared_classes_says_so(
    root: Path, tmp_path: Path, classes: str, words: str
) -> None:
    toml = root / "east" / "dataset.toml"
    toml.write_text(toml.read_text().replace("sky = 1\nperson = 2\nroad = 3", classes))
    display = Notices()
    given = {"pair": "west:east", "methods": "base", "data_root": root}
    (cell,) = plan(tmp_path / "r", **given, progress=display).cells
    assert cell.opened.tasks == ("depth", "normals", "edge")
    first = classes.partition(" ")[0]
    reason = f"west (road, person, sky and 1 more) and east ({first}, wall, roof) {words}"
    assert any(f"west:east: semseg is left out, {reason}" in text for text in display.notices)
    assert any(text.endswith("with --label-space") for text in display.notices)
    with pytest.raises(BenchError, match=r"--label-space; leave semseg out of data\.tasks"):
        plan(tmp_path / "r", **given, set={"data.tasks": "semseg,depth"})
    with pytest.raises(BenchError, match=r"share no task: semseg is left out, west \(road"):
        plan(tmp_path / "r", **given, set={"data.tasks": "semseg"})


def test_parts_and_saliency_of_pascal_are_there_if_they_are_asked_for(tmp_path: Path) -> None:
    folder = pascal_files.write(tmp_path / "data" / "pascal")
    given = {**PASCAL, "data_root": tmp_path / "data"}
    (plain,) = plan(tmp_path / "r", **given).cells
    assert plain.opened.tasks == ("semseg", "normals", "edge")
    wanted = {"data.tasks": "semseg,normals,edge,human_parts,saliency"}
    with pytest.raises(BenchError, match="human_parts is left out, pascal has no labels for it"):
        plan(tmp_path / "r", **given, set=wanted)
    pascal_files.write_extras(folder)
    (cell,) = plan(tmp_path / "r", **given, set=wanted).cells
    assert cell.opened.tasks == ("semseg", "normals", "edge", "human_parts", "saliency")
    (again,) = plan(tmp_path / "r", **given).cells
    assert again.folder(tmp_path) == plain.folder(tmp_path), "without a choice nothing changes"


def test_the_five_tasks_of_pascal_are_trained_and_scored(tmp_path: Path) -> None:
    pascal_files.write_extras(pascal_files.write(tmp_path / "data" / "pascal"))
    tasks = ["semseg", "normals", "edge", "human_parts", "saliency"]
    given = {**PASCAL, "data_root": tmp_path / "data", "steps": 1}
    assert run(tmp_path / "r", **given, set={"data.tasks": tasks}).computed == {"done": 1}
    rows = store.read_results(tmp_path / "r")
    assert rows["task"].drop_duplicates().tolist() == tasks
    assert rows["value"].notna().all()
    shares = rows[(rows["task"] == "human_parts") & (rows["metric"] == "miou")]["value"]
    assert shares.between(0, 100).all()
