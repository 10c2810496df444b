"""PASCAL-Context from files in the real formats: targets, padding, fallbacks, messages."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from scipy import ndimage
from support.files.pascal_files import (
    CONTEXT,
    IDS,
    SIZES,
    UNTRUSTED,
    VOC,
    annotation,
    bordered,
    file_of,
    view,
    write,
    write_extras,
    write_labels,
)
from support.notices import Notices

from ttt_bench.data.label_spaces import LabelSpace, find_label_space
from ttt_bench.data.listed.layout import find_listing
from ttt_bench.data.listed.manifest import update_manifest
from ttt_bench.data.pascal import edges
from ttt_bench.data.pascal.dataset import PascalContext
from ttt_bench.data.pascal.index import LAYOUT
from ttt_bench.errors import BenchError, DataError
from ttt_bench.util import extras
from ttt_bench.util.progress import Silent

ALL = ("semseg", "normals", "edge")
SIZE = (100, 110)
CLASSES = {11: 0, 20: 1, 5: 2, 18: 3, 16: 4, 9: 5}


def opened(
    root: Path, split: str = "test", size: tuple[int, int] = SIZE, **kwargs: Any
) -> PascalContext:
    return PascalContext.open(root, split, size, Silent(), **kwargs)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(tmp_path / "pascal")


def inner(target: Any, size: tuple[int, int]) -> Any:
    """Return the part of a padded target that the image covers."""
    top, left = (SIZE[0] - size[0]) // 2, (SIZE[1] - size[1]) // 2
    return target[..., top : top + size[0], left : left + size[1]]


@pytest.mark.parametrize(("index", "seed", "voc"), [(0, 2, True), (1, 3, False)])
def test_the_targets_are_those_of_the_image(tree: Path, index: int, seed: int, voc: bool) -> None:
    data = opened(tree)
    assert (data.domain, data.tasks, len(data)) == ("pascal", ALL, 3)
    size = SIZES[seed % 2]
    shown, batch = view(size, seed), data.batch([index])
    assert (
        np.abs(inner(batch.images[0].numpy(), size) - shown.rgb.transpose(2, 0, 1) / 255).mean()
        < 0.02
    )
    labels = inner(batch.targets["semseg"][0].numpy(), size)
    native = bordered(shown.voc) if voc else shown.voc
    for ident in (*range(21), 255):
        assert set(labels[native == ident]) <= {CLASSES.get(ident, 255)}
    assert set(np.unique(labels)) == {0, 1, 2, 3, 4, 5, 255}
    assert set(labels[native == 5]) == {
        find_label_space("taskonomy_pascal_6").classes.index("bottle")
    }
    normals = inner(batch.targets["normals"][0].numpy(), size)
    trusted = ~np.isin(shown.context, UNTRUSTED)
    assert (normals[:, ~trusted] == 255).all()
    assert (normals * shown.vectors).sum(0)[trusted].min() > 0.9998
    for ident in (440, 158):
        assert (normals[:, shown.context == ident] != 255).all()
    covered = np.zeros(SIZE, bool)
    inner(covered, size)[:] = True
    for task in ALL:
        assert (batch.targets[task][0].numpy()[..., ~covered] == 255).all()
    edge = inner(batch.targets["edge"][0, 0].numpy(), size)
    assert set(np.unique(edge)) == {0, 1}
    steps = np.flatnonzero(shown.context[0, 1:] != shown.context[0, :-1])
    on = np.flatnonzero(edge[size[0] // 2])
    assert len(on) == len(steps) == len(CONTEXT) - 1
    assert np.abs(on - steps - 0.5).max() < 1


def test_the_published_size_is_padded_with_the_mean(tree: Path) -> None:
    data = opened(tree, size=(512, 512))
    batch = data.batch([1])
    place = data.placement(1)
    assert (place.original, place.scaled, place.top, place.left) == ((100, 67), (100, 67), 206, 222)
    assert torch.equal(batch.images[0, :, 0, 0], torch.tensor([0.485, 0.456, 0.406]))
    assert (batch.targets["semseg"] != 255).any(dim=2).nonzero()[0, 1] >= 206
    assert (batch.targets["edge"] == 255).sum() == 512 * 512 - 6700


def test_saliency_parts_and_other_lists_are_not_needed(tree: Path) -> None:
    assert not any(
        (tree / name).exists() for name in ("sal_distill", "human_parts", "ImageSets/Parts")
    )
    opened(tree).prepare(Silent())


def test_parts_of_people_and_saliency_are_read_if_they_are_asked_for(tree: Path) -> None:
    plain = opened(tree)
    write_extras(tree)
    assert opened(tree).fingerprint == plain.fingerprint
    data = opened(tree, tasks=("human_parts", "saliency"))
    assert data.tasks == ("human_parts", "saliency")
    data.prepare(Silent())
    batch = data.batch([0, 1, 2])
    people = batch.targets["human_parts"]
    assert people.dtype == torch.int64
    assert (people[0] == 255).all(), "an image without people has no target"
    for index in (1, 2):
        size = SIZES[(index + 2) % 2]
        expected = np.zeros(size, int)
        for column in range(6):
            for person in range(index):
                expected[8 * person : 8 * person + 4, 5 * column : 5 * column + 4] = column + 1
        assert (inner(people[index].numpy(), size) == expected).all()
    salient = inner(batch.targets["saliency"][0, 0].numpy(), SIZES[0])
    assert (salient == (np.arange(100) < 50)).all()
    assert not (batch.targets["saliency"][0, 0, 0] != 255).any(), "padding has no target"


def test_a_file_of_parts_with_another_structure_is_named(tree: Path) -> None:
    write_extras(tree)
    path = tree / "human_parts" / f"{IDS['val'][1]}.mat"
    anno = annotation(SIZES[1], 1)
    anno["objects"][0, 1]["parts"][0, 0]["part_name"] = "wing"
    scipy.io.savemat(path, {"anno": anno})
    data = opened(tree, tasks=("human_parts",))
    with pytest.raises(DataError, match=f"{path}: not a file of PASCAL-Part's.*wing"):
        data.prepare(Silent())


def test_an_image_without_any_semantic_map_is_an_error(tree: Path) -> None:
    file_of(tree, IDS["val"][0], "semseg/VOC12").unlink()
    with pytest.raises(DataError) as caught:
        opened(tree)
    for words in (
        "1 of 3 images",
        "ImageSets/Context/val.txt",
        IDS["val"][0],
        "semseg/VOC12",
        "semseg/pascal-context",
    ):
        assert words in str(caught.value)
    assert "data prepare pascal" in str(caught.value)


def test_voc_masks_come_before_derived_ones(tree: Path) -> None:
    name = IDS["val"][0]
    write_labels(tree, name, np.zeros(SIZES[0], np.uint8), voc=False)
    assert (opened(tree).batch([0]).targets["semseg"] == 0).any()


def test_without_normals_the_other_tasks_run(tmp_path: Path) -> None:
    data = opened(
        write(tmp_path / "t", folders=("JPEGImages", "pascal-context/trainval", "semseg/VOC12"))
    )
    assert data.tasks == ("semseg", "edge")
    (notice,) = (n for n in data.notices if "normals_distill" in n)
    for words in (
        "normals_distill missing",
        "10,103 files expected",
        "task normals cannot run",
        "other archives",
    ):
        assert words in notice


def test_without_context_labels_only_semantics_run(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "t", folders=("JPEGImages", "semseg/VOC12", "normals_distill")))
    assert data.tasks == ("semseg",)
    assert sum("no Context labels" in n for n in data.notices) == 2


def test_true_toilets_come_from_the_context_labels(tree: Path) -> None:
    space = find_label_space("taskonomy_pascal_6_toilet")
    labels = inner(opened(tree, space=space).batch([1]).targets["semseg"][0].numpy(), SIZES[1])
    context = view(SIZES[1], 3).context
    toilet = space.classes.index("toilet")
    assert set(labels[context == 408]) == {toilet}
    assert toilet not in labels[context != 408]
    assert set(labels[context == 34]) == {255}, "a bottle is not a toilet"
    assert {int(ident): set(labels[context == ident]) for ident in VOC if ident != 34} == {
        397: {0}, 427: {1}, 368: {3}, 308: {4}, 72: {5}
    }  # fmt: skip


def test_a_space_of_context_ids_alone_needs_no_21_class_maps(tmp_path: Path) -> None:
    root = write(tmp_path / "t", folders=("JPEGImages", "pascal-context/trainval"))
    space = LabelSpace(
        name="mine", classes=("wall", "sky"), native={"pascal_context": ((440,), (360, 158))}
    )
    data = opened(root, space=space)
    assert data.tasks == ("semseg", "edge")
    labels = inner(data.batch([0]).targets["semseg"][0].numpy(), SIZES[0])
    context = view(SIZES[0]).context
    assert set(labels[context == 440]) == {0}
    assert set(labels[(context == 360) | (context == 158)]) == {1}
    with pytest.raises(BenchError, match="pascal"):
        opened(root, space=find_label_space("taskonomy_nyud_7"))


def test_targets_of_another_resolution_are_resized(tree: Path) -> None:
    name, shown = IDS["val"][0], view(SIZES[0], 2)
    path = file_of(tree, name, "normals_distill")
    before = opened(tree).batch([0]).targets
    with Image.open(path) as picture:
        picture.resize((50, 38), Image.Resampling.BICUBIC).save(path)
    write_labels(tree, name, shown.voc.repeat(2, 0).repeat(2, 1), voc=True)
    after = opened(tree).batch([0]).targets
    there = (before["normals"] != 255).all(dim=1)
    assert torch.equal((after["normals"] != 255).all(dim=1), there)
    cosine = (before["normals"] * after["normals"]).sum(1)[there]
    assert cosine.mean() > 0.999
    lengths = after["normals"].norm(dim=1)[there]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    assert set(torch.unique(after["semseg"]).tolist()) == {0, 1, 2, 3, 4, 5, 255}


def test_kept_edges_are_those_that_are_made(tree: Path) -> None:
    made = opened(tree)
    assert any("made from the labels each time" in n for n in made.notices)
    expected = made.batch([0, 1, 2]).targets["edge"]
    listing = find_listing(LAYOUT, tree, "test")
    notices = Notices()
    assert edges.keep(listing, notices) == 3
    assert notices.titles == ["making PASCAL-Context's edges"]
    assert edges.keep(find_listing(LAYOUT, tree, "test"), Silent()) == 0
    kept = opened(tree)
    assert not any("made from the labels" in n for n in kept.notices)
    assert torch.equal(kept.batch([0, 1, 2]).targets["edge"], expected)
    assert sorted(path.name for path in (tree / "edge").iterdir()) == [
        f"{name}.png" for name in sorted(IDS["val"])
    ]
    kept.prepare(Silent())
    Image.fromarray(np.full(SIZES[0], 3, np.uint8)).save(tree / "edge" / f"{IDS['val'][0]}.png")
    with pytest.raises(DataError, match="other than 0 and 255; delete the file"):
        kept.batch([0])


def test_edges_lie_on_boundaries_and_are_one_pixel_wide() -> None:
    labels = np.full((60, 80), 5, np.uint16)
    rows, columns = np.mgrid[:60, :80]
    labels[(rows - 30) ** 2 + (columns - 40) ** 2 < 400] = 459
    labels[:, 70:] = 6
    found = edges.label_edges(labels)
    boundary = np.zeros(labels.shape, bool)
    for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        boundary |= np.roll(labels, shift, axis) != labels
    assert found.any()
    assert not (found & ~boundary).any()
    # one line around the disc and one along the strip, without a block of 2 x 2
    assert ndimage.label(found, np.ones((3, 3)))[1] == 2
    assert not (found[1:, 1:] & found[1:, :-1] & found[:-1, 1:] & found[:-1, :-1]).any()
    assert 55 <= found[:, 66:].sum() <= 60
    assert not edges.label_edges(np.full((5, 7), 3, np.uint16)).any()


@pytest.mark.parametrize("module", ["scipy", "skimage"])
def test_a_missing_package_is_named_before_work_starts(
    tree: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    def absent(name: str) -> Any:
        if name.startswith(module):
            raise ImportError(f"No module named {name!r}")
        return real(name)

    real = extras.import_module
    monkeypatch.setattr(extras, "import_module", absent)
    with pytest.raises(DataError) as caught:
        opened(tree)
    package = {"skimage": "scikit-image"}.get(module, module)
    assert f"needs the package {package}" in str(caught.value)
    assert 'pip install "ttt-bench[data]"' in str(caught.value)


def test_the_archive_is_found_from_above_and_voc_alone_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "PASCAL_MT")
    assert opened(tmp_path / "a").listing.root == tmp_path / "a" / "PASCAL_MT"
    (tmp_path / "b" / "VOCdevkit" / "VOC2010" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(DataError, match=r"VOC without the Context lists.*data prepare pascal"):
        opened(tmp_path / "b")


def test_it_can_be_pickled_and_augmented_anywhere(tree: Path) -> None:
    update_manifest(tree, {"normal_axes": "left / up / backward"})
    data = opened(tree, "train")
    assert not any("measured" in notice for notice in data.notices)
    copy = pickle.loads(pickle.dumps(data))
    one, two = copy.augmented([1, 0], 11), data.augmented([1, 0], 11)
    assert torch.equal(one.images, two.images)
    assert all(torch.equal(one.targets[task], two.targets[task]) for task in ALL)
    assert one.images.shape == (2, 3, *SIZE)
