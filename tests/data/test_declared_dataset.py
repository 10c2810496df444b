"""Data sets that a `dataset.toml` describes: targets, shared classes, messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.files import declared_files
from support.files.declared_files import CLASSES, SIZE, WEST, scene
from support.findings import among
from support.paths import ROOT

from ttt_bench.data.base import Dataset
from ttt_bench.data.declared.declaration import read_declaration
from ttt_bench.data.domains import shared_labels
from ttt_bench.data.label_spaces import find_label_space
from ttt_bench.data.open import open_domain
from ttt_bench.data.pair import find_pair
from ttt_bench.data.registry import find_domain
from ttt_bench.data.variants import CORRECTED
from ttt_bench.datatools.check import check
from ttt_bench.errors import BenchError
from ttt_bench.tasks import PAPER_TASKS, TASKS
from ttt_bench.util.progress import Silent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    declared_files.write_west(tmp_path / "west", {"train": 2, "val": 2})
    declared_files.write_east(tmp_path / "east", {"train": 2, "test": 2})
    return tmp_path


def opened(
    root: Path, name: str, split: str = "test", tasks: tuple[str, ...] | None = None
) -> Dataset:
    domain = find_domain(name, root)
    space = find_pair("west:east", root).label_space(None, {})
    given = {"data_root": root, "cache": root / "cache", "progress": Silent()}
    return open_domain(domain, split, SIZE, 0, variant=CORRECTED, space=space, tasks=tasks, **given)


@pytest.mark.parametrize(("name", "split", "seed"), [("west", "test", 2), ("east", "train", 100)])
def test_both_forms_give_the_targets_of_the_scene(
    root: Path, name: str, split: str, seed: int
) -> None:
    data = opened(root, name, split, tuple(TASKS))
    assert data.tasks == tuple(TASKS)
    assert len(data) == 2
    data.prepare(Silent())
    batch, shown = data.batch([0]), scene(seed)
    targets = {task: target[0].numpy() for task, target in batch.targets.items()}
    assert (batch.images[0].numpy() * 255).round().transpose(1, 2, 0).tolist() == shown[
        "image"
    ].tolist()
    # the classes that both have, in the order of the source's table; void and others have no index
    expected = np.array([CLASSES.index(one) for one in ("road", "person", "sky")] + [255])
    assert (targets["semseg"] == expected[shown["classes"]]).all()
    assert np.abs(targets["depth"][0] / shown["metres"] - 1).max() < 0.02
    assert (targets["normals"] * shown["normals"]).sum(0).min() > 0.999
    assert (targets["edge"][0] == shown["edges"]).all()
    assert (targets["human_parts"] == shown["parts"]).all()
    assert (targets["saliency"][0] == shown["salient"]).all()


def test_without_a_choice_it_has_the_tasks_of_the_papers_and_reads_only_their_files(
    root: Path,
) -> None:
    before = opened(root, "west")
    assert before.tasks == PAPER_TASKS
    (root / "west/parts/val/city0/000.png").unlink()
    assert opened(root, "west").fingerprint == before.fingerprint
    with pytest.raises(BenchError, match=r"human_parts\.files = .*1 of 2 frames.*such as 000"):
        opened(root, "west", tasks=("human_parts",))


def test_an_image_without_a_part_of_a_person_has_no_target_of_human_parts(root: Path) -> None:
    parts = root / "west/parts/val"
    empty = np.zeros(SIZE, np.uint8)
    empty[:4] = 255
    declared_files.save(parts / "city0/000.png", empty)
    person = empty.copy()
    person[8, 8] = 6
    declared_files.save(parts / "city1/001.png", person)
    data = opened(root, "west", tasks=("human_parts",))
    data.prepare(Silent())
    people = data.batch([0, 1]).targets["human_parts"].numpy()
    assert (people[0] == 255).all()
    assert (people[1] == person).all()


def test_classes_are_shared_by_name(root: Path) -> None:
    space = find_pair("west:east", root).label_space(None, {})
    assert space is not None
    assert (space.name, space.classes) == ("west+east", ("road", "person", "sky"))
    assert space.native == {"west": ((7,), (24, 25), (23,)), "east": ((3,), (2,), (1,))}
    # with a data set of the harness: a label space that has two of the names or more
    west = find_domain("west", root)
    assert west.ids_of(find_label_space("nyud_pascal_4")) is None
    mine = shared_labels([west], None, {})
    assert mine is not None
    assert mine.classes == ("road", "person", "sky", "terrain")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("[edge]", "[egde]", r"dataset.toml: egde: unknown setting 'egde'; did you mean edge"),
        ("offset =", "ofset =", r"depth.ofset: unknown setting 'ofset'; did you mean offset"),
        ("{name}_photo", "photo", r"images: must contain \{name\} once"),
        ("train =", "training =", r"splits: unknown split 'training'; did you mean train.*val\)$"),
        ("sky = 23", "sky = 24", r"semseg: number 24 is given twice; .* only one class$"),
        ('train = "train"', "train = { fodler = 1 }", r"splits.train.fodler: .* mean folder"),
        ("edges/{", "outline/{", r"edge.files: the folder .*outline/val does not exist; correct"),
        ('test = "val"', "", r"has no split test, only train, val; add it to \[splits\]"),
        ("left / up", "left / top", r"normals.axes: unknown axes 'left / top / backward'"),
        ("= [", "= (", r"dataset.toml: not valid TOML"),
        ('"val"\n', '"vla"\n', r"photos/vla does not exist; correct the pattern, `root`"),
    ],
)
def test_a_mistake_in_the_file_is_one_clear_line(
    root: Path, before: str, after: str, words: str
) -> None:
    assert before in WEST
    (root / "west" / "dataset.toml").write_text(WEST.replace(before, after))
    with pytest.raises(BenchError, match=words) as caught:
        opened(root, "west")
    assert "\n" not in str(caught.value)


def test_a_file_without_a_target_is_named(root: Path) -> None:
    toml = root / "west" / "dataset.toml"
    toml.write_text(WEST.partition("[semseg]")[0])
    with pytest.raises(BenchError) as caught:
        read_declaration(toml.parent)
    assert str(caught.value) == f"{toml}: describes no target; give a table such as [semseg]"


def test_wrong_files_are_named_before_any_training(root: Path) -> None:
    labels, depth = root / "west/labels/val", root / "west/disparity/val"
    numbers = np.full(SIZE, 77, np.uint8)
    declared_files.save(labels / "city0/000_ids.png", numbers)
    declared_files.save(depth / "city1/001.png", np.ones((9, 9), np.uint16))
    data = opened(root, "west")
    with pytest.raises(BenchError) as caught:
        data.prepare(Silent())
    first, second = str(caught.value).splitlines()[1:3]
    assert f"{labels}/city0/000_ids.png: holds 77, which is not in the table; add it to a" in first
    assert f"or to `void` of [semseg] in {root}/west/dataset.toml" in first
    assert f"{depth}/city1/001.png: 9x9 pixels, but its image" in second


def test_two_files_of_one_name_are_refused(root: Path) -> None:
    photos = root / "west/photos/val"
    (photos / "city1/000_photo.png").write_bytes((photos / "city0/000_photo.png").read_bytes())
    with pytest.raises(BenchError, match=r"images: .*city0/000.* and .*city1/000.* name '000'"):
        opened(root, "west")


def test_a_folder_with_the_name_of_an_installed_data_set_is_refused(root: Path) -> None:
    (root / "west").rename(root / "nyud")
    with pytest.raises(BenchError, match="has the name of an installed data set; rename"):
        find_pair("nyud:east", root)
    with pytest.raises(BenchError, match="unknown pair 'wset:east'"):
        find_pair("wset:east", root)


def test_the_example_of_the_page_is_valid(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    example = page.split("## Data sets without code")[1].split("```toml\n")[1].split("```")[0]
    (tmp_path / "dataset.toml").write_text(example)
    declaration = read_declaration(tmp_path)
    assert declaration.tasks == ("semseg", "depth")
    assert declaration.splits["tune"].list == "lists/tune.txt"
    # lists of one folder, so that no image has to be in two splits
    train = declaration.splits["train"]
    assert (train.folder, train.list) == ("train", "lists/train.txt")


def test_data_check_covers_them(root: Path) -> None:
    found = check(root, Silent())
    assert not [finding for finding in found if finding.level == "error"]
    messages = [finding.message for finding in found]
    for words in (
        "east: the data set east of its dataset.toml",
        "west: test: saliency on 100.0% of the pixels of 2 samples",
        "east: split tune: ",
    ):
        assert any(message.startswith(words) for message in messages)
    (root / "east/dataset.toml").write_text("images = 1")
    declared_files.save(root / "west/labels/val/city0/000_ids.png", np.full(SIZE, 77, np.uint8))
    errors = [finding.message for finding in check(root, Silent()) if finding.level == "error"]
    assert any("east/dataset.toml: images: " in message for message in errors)
    assert any("holds 77, which is not in the table" in message for message in errors)


def changed(root: Path, name: str, before: str, after: str) -> None:
    toml = root / name / "dataset.toml"
    assert before in toml.read_text()
    toml.write_text(toml.read_text().replace(before, after))


def test_depth_of_a_street_is_not_doubted(root: Path) -> None:
    shown = among(check(root, Silent()), "ok", "values", "east: test: depth: median", "outdoors")
    assert shown, "the median of the scenes is above that of rooms"
    assert shown[0].message.endswith("as outdoors; that of rooms is 0.5 to 20 m")


@pytest.mark.parametrize(
    ("scale", "level", "words"),
    [
        ("0.001", "warning", "outside 0.5..100 m: the unit is wrong"),
        ("1000.0", "error", "expected metres below 100"),
    ],
)
def test_another_unit_of_depth_is_named_with_the_entries_of_the_file(
    root: Path, scale: str, level: str, words: str
) -> None:
    changed(root, "east", "scale = 1.0", f"scale = {scale}")
    (finding,) = among(check(root, Silent()), level, "values", "east: test", words)
    place = f"of [depth] in {root / 'east' / 'dataset.toml'}"
    assert f"correct `scale`, `offset` or `inverse` {place}" in finding.message
    assert "to_metres" not in finding.message


@pytest.mark.parametrize(
    ("offset", "words"), [("-5.0", "depth is 0 in"), ("-6.0", "depth has negative values")]
)
def test_depth_of_zero_or_less_is_named_with_the_entry_of_the_file(
    root: Path, offset: str, words: str
) -> None:
    changed(root, "east", "scale = 1.0", f"scale = 1.0\noffset = {offset}")
    (finding,) = among(check(root, Silent()), "error", "values", "east: test", words)
    assert "; list the stored value of missing depth in `invalid` of [depth]" in finding.message
    with pytest.raises(BenchError, match=words):
        opened(root, "east").prepare(Silent())


def test_infinite_depth_is_named_with_the_entry_of_the_file(root: Path) -> None:
    disparity = np.ones(SIZE, np.uint16)
    declared_files.save(root / "west/disparity/val/city0/000.png", disparity)
    (finding, *_) = among(check(root, Silent()), "error", "values", "west: test", "not finite")
    assert "in `invalid` of [depth]" in finding.message


def test_images_in_two_splits_are_named(root: Path) -> None:
    assert not among(check(root / "east", Silent()), "warning", "splits", "share")
    lists = root / "east/data/lists"
    (lists / "tune.txt").write_text("train-1\n")
    changed(root, "east", "[splits]", '[splits]\ntune = { list = "lists/tune.txt" }')
    (finding,) = among(check(root / "east", Silent()), "warning", "splits", "share")
    words = "the splits train and tune share 1 image (train-1/image.png); no image should be in two"
    assert words in finding.message
    assert f"or a `list` of names, in {root / 'east' / 'dataset.toml'}" in finding.message
    assert finding.count == 1
    # the splits of whole folders: val and test of the west are one
    (finding,) = among(check(root / "west", Silent()), "warning", "splits", "val and test share 2")
    assert "(photos/val/city0/000_photo.png, photos/val/city1/001_photo.png)" in finding.message
