"""NYUD-v2 from files in the formats of both releases: targets, padding, splits, messages."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.files.nyud_files import IDS, file_of, view, write, write_libmtl, write_view
from support.files.taskonomy_files import cut
from support.notices import Notices
from support.paths import SAMPLES

from ttt_bench.data.images.sample import Placement
from ttt_bench.data.label_spaces import LabelSpace, find_label_space
from ttt_bench.data.listed.manifest import update_manifest
from ttt_bench.data.nyud.dataset import NYUD
from ttt_bench.data.variants import OFFICIAL
from ttt_bench.errors import BenchError, DataError
from ttt_bench.util.progress import Silent

ALL = ("semseg", "depth", "normals", "edge")
CLASSES = {24: 0, 7: 1, 33: 2, 6: 3, 4: 4, 34: 5, 5: 6}
SIZE = (48, 64)


def opened(root: Path, split: str = "test", size: tuple[int, int] = SIZE, **kwargs: Any) -> NYUD:
    return NYUD.open(root, split, size, Silent(), **kwargs)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(tmp_path / "nyud")


@pytest.mark.parametrize("style", ["atrc", "vandenhende"])
def test_the_targets_are_those_of_the_frame(tmp_path: Path, style: str) -> None:
    data = opened(write(tmp_path / "t", style))
    assert (data.domain, data.size, data.tasks, len(data)) == ("nyud", SIZE, ALL, 2)
    batch, shown = data.batch([1]), view(SIZE, seed=4)
    assert tuple(batch.targets) == ALL
    assert batch.images.shape == (1, 3, *SIZE)
    assert batch.targets["semseg"].shape == (1, *SIZE)
    assert batch.targets["semseg"].dtype == torch.int64
    assert {batch.images.dtype, *(batch.targets[task].dtype for task in ALL[1:])} == {torch.float32}
    apart = np.abs(batch.images[0].numpy() - shown.rgb.transpose(2, 0, 1) / 255)
    assert apart.max() < 1e-6 if style == "atrc" else apart.mean() < 0.05
    labels = batch.targets["semseg"][0].numpy()
    for ident in range(41):
        assert set(labels[shown.labels == ident]) <= {CLASSES.get(ident, 255)}
    assert set(np.unique(labels)) == {*CLASSES.values(), 255}
    depth = batch.targets["depth"][0, 0].numpy()
    np.testing.assert_allclose(depth, np.where(shown.hole, 255, shown.metres), rtol=1e-6)
    normals = batch.targets["normals"][0].numpy()
    assert (normals[:, shown.hole] == 255).all()
    cosine = (normals * shown.vectors).sum(0)[~shown.hole]
    assert cosine.min() > 0.9998
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0)[~shown.hole], 1, rtol=1e-5)
    np.testing.assert_array_equal(batch.targets["edge"][0, 0].numpy(), shown.edges)


def test_the_published_size_is_padded_as_published(tmp_path: Path) -> None:
    root = write(tmp_path / "t", ids={"train": ["a"], "val": ["b"]}, size=(425, 560))
    data = opened(root, "test", (448, 576))
    assert not any("larger" in notice or "480x640" in notice for notice in data.notices)
    place = data.placement(0)
    assert (place.original, place.scaled, place.top, place.left) == ((425, 560), (425, 560), 11, 8)
    batch = data.batch([0])
    inside = torch.zeros(448, 576, dtype=torch.bool)
    inside[11:-12, 8:-8] = True
    assert inside.sum() == 425 * 560
    mean = torch.tensor([0.485, 0.456, 0.406])
    assert torch.equal(batch.images[0][:, ~inside], mean[:, None].expand(3, int((~inside).sum())))
    for task in ALL:
        assert (batch.targets[task][0][..., ~inside] == 255).all()
    assert (batch.targets["edge"][0][..., inside] != 255).all()
    # a bright top left corner proves which way round the axes are
    corner = batch.images[0, :, 11:60, 8:70]
    assert corner.min() > 0.97
    assert batch.images[0, :, -60:-12, 8:70].min() < 0.9
    assert batch.images[0, :, 11:60, -70:-8].min() < 0.9


@pytest.mark.parametrize("style", ["atrc", "vandenhende"])
def test_uncropped_frames_are_the_wrong_release(tmp_path: Path, style: str) -> None:
    root = write(tmp_path / "t", style, {"train": ["a"], "val": ["b"]}, (480, 640))
    data = opened(root, "test", (448, 576))
    (notice,) = (n for n in data.notices if "480x640" in n)
    for words in ("ASTMT/Vandenhende release", "425x560", "data prepare nyud --crop"):
        assert words in notice
    assert any("1 of 1 images are larger than 448x576" in n for n in data.notices)
    assert data.placement(0).scaled == (432, 576)
    targets = data.batch([0]).targets
    rows = (targets["edge"][0, 0] != 255).any(1).nonzero().flatten()
    assert (int(rows[0]), int(rows[-1])) == (8, 8 + 431)
    depth = targets["depth"][0, 0]
    assert depth[depth != 255].max() == pytest.approx(view((480, 640), 1).metres.max(), rel=1e-6)


def test_smaller_images_than_wanted_are_never_enlarged(tree: Path) -> None:
    data = opened(tree, "test", (60, 81))
    assert data.placement(1) == Placement(original=(48, 64), scaled=(48, 64), top=6, left=8)
    assert not any("larger" in notice for notice in data.notices)


def test_the_other_archive_is_named(tmp_path: Path) -> None:
    assert any(
        "NYUD_MT" in n and "NYUDv2" in n
        for n in opened(write(tmp_path / "v", "vandenhende")).notices
    )
    assert not any("NYUD_MT" in n for n in opened(write(tmp_path / "a")).notices)


def test_splits_are_the_published_lists(tree: Path) -> None:
    names = {split: opened(tree, split).listing.ids for split in ("train", "val", "test", "tune")}
    assert names == {
        "train": IDS["train"],
        "tune": IDS["train"],
        "val": IDS["val"],
        "test": IDS["val"],
    }
    assert any("lists 3 images" in n and "795" in n for n in opened(tree, "train").notices)
    assert any("lists 2 images" in n and "654" in n for n in opened(tree, "test").notices)
    assert any("no model is trained on" in n for n in opened(tree, "val").notices)
    assert any("choose settings on" in n for n in opened(tree, "tune").notices)
    with pytest.raises(BenchError, match=r"unknown split 'tset'; did you mean test"):
        opened(tree, "tset")


@pytest.mark.parametrize("inner", ["", "NYUDv2", "NYUD_MT", "mine"])
def test_the_folder_is_found_from_above(tmp_path: Path, inner: str) -> None:
    write(tmp_path / "nyud" / inner)
    assert opened(tmp_path / "nyud").listing.root == tmp_path / "nyud" / inner


def test_the_published_archive_comes_first(tmp_path: Path) -> None:
    for inner in ("NYUD_MT", "NYUDv2", "a"):
        write(tmp_path / inner)
    assert opened(tmp_path).listing.root == tmp_path / "NYUDv2"


def test_axes_are_those_of_the_manifest_or_assumed_with_a_notice(tree: Path) -> None:
    assumed = opened(tree)
    assert any("left / up / backward" in n and "not measured" in n for n in assumed.notices)
    update_manifest(tree, {"normal_axes": "right / up / backward"})
    measured = opened(tree)
    assert not any("measured" in n for n in measured.notices)
    assert measured.fingerprint != assumed.fingerprint
    one, other = assumed.batch([0]).targets["normals"], measured.batch([0]).targets["normals"]
    there = (one != 255).all(dim=1)[0]
    signs = torch.tensor([-1.0, 1.0, 1.0])[:, None]
    assert torch.equal(other[0][:, there], one[0][:, there] * signs)
    assert (other[0][:, ~there] == 255).all()


def test_derived_targets_give_a_notice(tree: Path) -> None:
    update_manifest(tree, {"derived": {"edge": "where labels or instances differ"}})
    assert any(
        "edge targets are derived" in n and "instances differ" in n for n in opened(tree).notices
    )


def test_middle_grey_is_a_missing_normal_by_default(tree: Path) -> None:
    hole = view(SIZE, 3).hole
    assert (opened(tree).batch([0]).targets["normals"][0][:, hole] == 255).all()
    kept = opened(tree, variant=OFFICIAL).batch([0]).targets["normals"][0]
    assert (kept != 255).all()


def test_a_label_space_of_ones_own(tree: Path) -> None:
    space = LabelSpace(name="mine", classes=("seat", "rest"), native={"nyud": ((5, 6), (0, 4))})
    labels = opened(tree, space=space).batch([0]).targets["semseg"][0].numpy()
    native = view(SIZE, 3).labels
    assert set(labels[np.isin(native, (5, 6))]) == {0}
    assert set(labels[np.isin(native, (0, 4))]) == {1}
    assert set(labels[native == 7]) == {255}
    assert opened(tree, space=space).fingerprint != opened(tree).fingerprint
    shared = LabelSpace(
        name="mine", classes=space.classes, native={**space.native, "elsewhere": ((1,), (2,))}
    )
    assert opened(tree, space=shared).fingerprint == opened(tree, space=space).fingerprint
    with pytest.raises(BenchError, match="nyud"):
        opened(tree, space=find_label_space("taskonomy_pascal_6"))


def test_only_what_the_tasks_read_is_required(tmp_path: Path) -> None:
    root = write(tmp_path / "t", folders=("images", "depth", "edge"))
    data = opened(root)
    assert data.tasks == ("depth", "edge")
    assert any("no normals files" in n and "normals/ID.png or .npy" in n for n in data.notices)
    assert tuple(data.batch([0]).targets) == ("depth", "edge")
    data.prepare(Silent())


def test_a_missing_file_is_an_error_that_names_it(tree: Path) -> None:
    file_of(tree, "0002_x", "depth").unlink()
    with pytest.raises(DataError) as caught:
        opened(tree)
    for words in (
        "1 of 2 images of gt_sets/val.txt",
        "no depth file",
        "0002_x",
        "depth/ID.npy",
        "complete the archive",
    ):
        assert words in str(caught.value)
    assert len(opened(tree, "train")) == 3


def test_targets_of_another_resolution_are_resized(tree: Path) -> None:
    small = view(SIZE, 3).labels[::2, ::2]
    Image.fromarray(small).save(file_of(tree, "0001", "segmentation"))
    normals = view(SIZE, 3)
    stored = (
        np.rint(127.5 - 127.5 * normals.vectors[:, ::2, ::2]).astype(np.uint8).transpose(1, 2, 0)
    )
    Image.fromarray(stored).save(file_of(tree, "0001", "normals"))
    targets = opened(tree).batch([0]).targets
    expected = np.repeat(np.repeat(small, 2, 0), 2, 1)
    assert set(targets["semseg"][0].numpy()[expected == 7]) == {1}
    cosine = (targets["normals"][0].numpy() * normals.vectors).sum(0)
    assert np.median(cosine) > 0.9999


def test_a_target_that_was_not_cropped_with_its_image_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "t", ids={"train": ["a"], "val": ["b"]}, size=(425, 560))
    write_view(root, "b", view((480, 640)), folders=("depth",))
    with pytest.raises(
        DataError, match=r"(?s)1 bad files.*b\.npy: 480 rows and 640 columns.*425 and 560.*cropped"
    ):
        opened(root, size=(448, 576)).prepare(Silent())


def test_damage_is_reported_all_at_once_and_remembered(tree: Path) -> None:
    cut(file_of(tree, "0001", "images"))
    file_of(tree, "0001", "depth").write_bytes(b"")
    Image.fromarray(np.full(SIZE, 77, np.uint8)).save(file_of(tree, "0002_x", "segmentation"))
    data, notices = opened(tree), Notices()
    for _ in range(2):
        with pytest.raises(DataError) as caught:
            data.prepare(notices)
        for words in (
            "3 bad files among 2 images",
            "0001.png: truncated",
            "empty file (0 bytes)",
            "label 77",
        ):
            assert words in str(caught.value)
    assert notices.titles.count("checking NYUD-v2's files") == 1
    with pytest.raises(DataError, match="truncated"):
        data.batch([0])


def test_it_travels_to_workers(tree: Path) -> None:
    data = opened(tree)
    copy = pickle.loads(pickle.dumps(data))
    assert copy.fingerprint == data.fingerprint
    assert torch.equal(copy.augmented([1, 0], 3).images, data.augmented([1, 0], 3).images)
    assert data.fingerprint != opened(tree, size=(64, 64)).fingerprint
    assert data.fingerprint != opened(tree, variant=OFFICIAL).fingerprint


def test_training_views_follow_the_recipe_and_the_seed_alone(tree: Path) -> None:
    data = opened(tree, "train", (40, 40))
    first, again, other = (
        data.augmented([0, 1], 7),
        data.augmented([0, 1], 7),
        data.augmented([0, 1], 8),
    )
    assert torch.equal(first.images, again.images)
    assert all(torch.equal(first.targets[task], again.targets[task]) for task in ALL)
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (2, 3, 40, 40)
    same = data.augmented([0, 0], 7)
    assert torch.equal(same.images[0], first.images[0])
    assert not torch.equal(same.images[1], same.images[0])
    depth = torch.stack([data.augmented([0], seed).targets["depth"] for seed in range(12)])
    metres = view(SIZE).metres
    assert depth[depth != 255].min() < 0.8 * metres[metres > 0].min()
    assert depth[depth != 255].max() > 1.2 * metres.max()


def test_other_forms_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"LibMTL / MTAN.*288x384.*13 classes.*NYUDv2"):
        opened(write_libmtl(tmp_path / "libmtl"))
    with pytest.raises(DataError, match="LibMTL / MTAN"):
        opened(write_libmtl(tmp_path / "above" / "inner").parent)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "nyu_depth_v2_labeled.mat").touch()
    with pytest.raises(DataError, match=r"data prepare nyud --mat"):
        opened(tmp_path / "raw")


def test_unsuitable_folders_are_listed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist.*--data-root.*TTT_BENCH_DATA.*nyud/"):
        opened(tmp_path / "nowhere")
    with pytest.raises(DataError, match="contains nothing"):
        opened(tmp_path)
    (tmp_path / "NYUDv2.tar.gz").touch()
    with pytest.raises(
        DataError, match=r"Extract NYUDv2\.tar\.gz there.*gt_sets/train\.txt.*depth/ID\.npy"
    ):
        opened(tmp_path)


def test_lists_that_cannot_be_used(tree: Path) -> None:
    (tree / "gt_sets" / "val.txt").write_text("\n \n")
    with pytest.raises(DataError, match="lists no id"):
        opened(tree)
    (tree / "gt_sets" / "val.txt").unlink()
    with pytest.raises(DataError, match="no such file; it lists the ids of val"):
        opened(tree)
    (tree / "gt_sets" / "train.txt").write_bytes(b"\xef\xbb\xbf0003\r\nn5 \r\n\r\n0003\r\n")
    assert opened(tree, "train").listing.ids == ("0003", "n5")


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are missing")
def test_a_genuine_frame_with_its_normals_in_reversed_channels(tmp_path: Path) -> None:
    for folder, sample in (
        ("images", "image"),
        ("segmentation", "segmentation40"),
        ("normals", "normal_zyx"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").symlink_to(SAMPLES / "nyud" / f"{sample}.png")
    (tmp_path / "gt_sets").mkdir()
    (tmp_path / "gt_sets" / "val.txt").write_text("a")
    update_manifest(tmp_path, {"normal_axes": "forward / down / right"})
    space = LabelSpace(name="mine", classes=("wall", "table"), native={"nyud": ((1,), (7,))})
    data = opened(tmp_path, size=(512, 682), space=space)
    data.prepare(Silent())
    targets = data.batch([0]).targets
    labels, normals = targets["semseg"][0], targets["normals"][0]
    assert data.tasks == ("semseg", "normals")
    wall, table = (
        normals[:, (labels == index) & (normals[0] != 255)].median(dim=1).values for index in (0, 1)
    )
    assert wall.tolist() == pytest.approx([-0.22, 0.10, -0.98], abs=0.03)
    assert table.tolist() == pytest.approx([0.01, -0.99, -0.18], abs=0.03)


@pytest.mark.parametrize("split", ["train", "val", "test", "tune"])
def test_lists_that_share_images_are_refused(tree: Path, split: str) -> None:
    lists = tree / "gt_sets"
    (lists / "train.txt").write_text("0003\n0001\nn5\n")
    with pytest.raises(DataError, match=r"train\.txt and val\.txt .* share 1 ids \(0001\)"):
        opened(tree, split)
    (lists / "train.txt").write_text("0003\n")
    opened(tree, split)


def test_a_list_that_is_not_used_may_be_missing(tree: Path) -> None:
    (tree / "gt_sets" / "train.txt").unlink()
    assert len(opened(tree)) == len(IDS["val"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0001.png", "such as '0001.png'"),
        ("0001 0002_x", "such as '0001 0002_x'"),
        ("images/0001", "such as 'images/0001'"),
    ],
)
def test_a_line_that_is_no_id_is_quoted_with_a_file_that_exists(
    tree: Path, line: str, words: str
) -> None:
    (tree / "gt_sets" / "val.txt").write_text(f"{line}\n")
    with pytest.raises(DataError) as caught:
        opened(tree)
    assert words in str(caught.value)
    assert "found images/0001.png" in str(caught.value)
    assert "without its suffix" in str(caught.value)


@pytest.mark.parametrize("suffix", [".PNG", ".jpeg"])
def test_a_file_of_another_suffix_is_named(tree: Path, suffix: str) -> None:
    path = file_of(tree, "0001", "images")
    path.rename(path.with_suffix(suffix))
    with pytest.raises(DataError, match=rf"'0001' .*, found images/0001\{suffix}\)"):
        opened(tree)


def test_a_stray_folder_next_to_the_archive_is_passed_over(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = tree.parent / "top"
    for name in ("lost+found", "@eaDir", "__MACOSX", "aaa"):
        (top / name).mkdir(parents=True)
    tree.rename(top / "NYUDv2")
    for folder in list(top.rglob("*")):
        if folder.is_dir() and folder.parent != top:
            (folder / "@eaDir").mkdir()
    real = Path.stat

    def stat(path: Path, **options: Any) -> Any:
        if {"lost+found", "aaa"} & set(path.parts[:-1]):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    assert len(opened(top)) == len(IDS["val"])
