"""NYUD-v2 from archives, from raw frames, and cropped."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from support.files import nyud_files
from support.files.inside import inside
from support.files.raw_files import (
    CLASS_OF,
    RAW_LABELS,
    Stopping,
    half_written,
    pack,
    tree,
    write_classes,
    write_mat,
    write_splits,
)
from support.files.taskonomy_files import cut
from support.notices import Notices

from ttt_bench.data.nyud.dataset import NYUD
from ttt_bench.datatools.check import check, exit_code
from ttt_bench.datatools.prepare import nyud
from ttt_bench.datatools.prepare.nyud_targets import depth_normals, label_boundaries
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Progress, Silent


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the raw sources: the labelled frames, the split and the classes."""
    folder = tmp_path_factory.mktemp("raw")
    write_mat(folder / "nyu_depth_v2_labeled.mat")
    write_splits(folder / "splits.mat")
    write_classes(folder / "classMapping40.mat")
    return folder


def sources_of(raw: Path, **changes: Any) -> nyud.NyudSources:
    """Return the raw sources in a folder; `changes` replaces some of them."""
    usual = {
        "mat": raw / "nyu_depth_v2_labeled.mat",
        "splits": raw / "splits.mat",
        "classes": raw / "classMapping40.mat",
    }
    return nyud.NyudSources(**usual | changes)


def made(raw: Path, folder: Path, progress: Progress | None = None, **changes: Any) -> Path:
    return nyud.prepare_raw(sources_of(raw, **changes), folder, progress or Silent())


@pytest.fixture(scope="module")
def prepared(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(raw, tmp_path_factory.mktemp("data") / "nyud")


def test_raw_frames_become_the_published_form(prepared: Path) -> None:
    assert prepared.name == "NYUDv2"
    assert (prepared / "gt_sets" / "train.txt").read_text() == "0002\n0003\n"
    assert (prepared / "gt_sets" / "val.txt").read_text() == "0001\n"
    picture = np.asarray(Image.open(prepared / "images" / "0001.png"))
    assert picture.shape == (425, 560, 3)
    # the bright corner begins at the corner of the crop, so axes and crop are correct
    assert (picture[:60, :60] == 250).all()
    assert (picture[61:] == 60).all()
    assert (picture[:, 61:] == 60).all()
    labels = np.asarray(Image.open(prepared / "segmentation" / "0001.png"))
    for at, raw_label in enumerate(RAW_LABELS):
        left, right = max(60 * at - 40, 0), 60 * at + 20
        if right <= 560:
            assert (labels[55:255, left:right] == CLASS_OF.get(raw_label, 0)).all()
    depth = np.load(prepared / "depth" / "0001.npy")
    assert (depth.dtype, depth.shape) == (np.float32, (425, 560))
    room = inside((480, 640), (518.858, 519.470), (325.582, 253.736), 0.0)
    np.testing.assert_allclose(depth, room.metres[45:470, 40:600], rtol=1e-6)


def test_derived_normals_are_those_of_the_room_in_the_axes_that_loaders_assume(
    prepared: Path,
) -> None:
    data = NYUD.open(prepared, "train", (448, 576), Silent())
    assert data.axes == "left / up / backward"
    room = inside((480, 640), (518.858, 519.470), (325.582, 253.736), 0.1)
    normals = data.batch([0]).targets["normals"][0].numpy()[:, 11:436, 8:568]
    true = room.vectors[:, 45:470, 40:600]
    there = (normals != 255).all(0)
    apart = np.degrees(np.arccos(np.clip((normals * true).sum(0), -1, 1)))[there]
    assert there.mean() > 0.9
    assert np.median(apart) < 0.5
    assert (apart < 1).mean() > 0.9, "all but the creases"


def test_derived_files_are_named_in_the_manifest_and_by_the_loader(prepared: Path) -> None:
    manifest = json.loads((prepared / "ttt-bench.json").read_text())
    assert set(manifest["derived"]) == {"edge", "normals"}
    data = NYUD.open(prepared, "test", (448, 576), Silent())
    for task in ("edge", "normals"):
        assert any(
            f"{task} targets are derived, not the published ones" in notice
            for notice in data.notices
        )
    findings = check(prepared, Silent())
    assert exit_code(findings) == 0
    axes = next(finding for finding in findings if finding.check == "conventions")
    assert "left / up / backward" in axes.message


def test_edges_are_where_labels_or_instances_meet(prepared: Path) -> None:
    labels = np.array([[1, 1, 2], [1, 1, 2], [3, 3, 3]], np.uint16)
    instances = np.zeros((3, 3), np.uint8)
    expected = [[0, 1, 0], [1, 1, 1], [0, 0, 0]]
    np.testing.assert_array_equal(label_boundaries(labels, instances), np.array(expected, bool))
    instances[0, 0] = 1
    assert label_boundaries(labels, instances)[0, 0]
    edges = np.asarray(Image.open(prepared / "edge" / "0001.png"))
    assert set(np.unique(edges)) == {0, 255}
    assert edges[155 - 1, 25] == 255, "two chairs of one label, rows counted after the crop"
    assert edges[150, 19] == 255
    assert not edges[:54].any()


def test_normals_are_missing_at_jumps_and_where_there_is_no_depth() -> None:
    metres = np.full((480, 640), 3.0, np.float32)
    metres[100:200, 100:200] = 1.0
    metres[300:310, 300:310] = 0
    normals = depth_normals(metres)
    assert (normals[250, 250] == [128, 128, 255]).all(), "left / up / backward: towards the camera"
    assert (normals[200, 150] == 128).all()
    assert (normals[305, 305] == 128).all()
    assert (normals[298, 298] == 128).all()


def test_raw_depth_keeps_its_holes(raw: Path, tmp_path: Path) -> None:
    root = made(raw, tmp_path / "nyud", raw_depth=True)
    depth = np.load(root / "depth" / "0001.npy")
    assert (depth[105:115] == 0).all()
    assert (depth[:105] > 0).all()
    assert "depth" in json.loads((root / "ttt-bench.json").read_text())["derived"]


def test_an_interruption_leaves_nothing_visible_and_the_next_call_resumes(
    raw: Path, prepared: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        made(raw, tmp_path / "nyud", Stopping("making NYUD-v2", 2))
    assert not (tmp_path / "nyud" / "NYUDv2").exists()
    assert not half_written(tmp_path)
    begun = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("depth/*.npy")}
    root = made(raw, tmp_path / "nyud")
    assert tree(root) == tree(prepared)
    assert all((root / "depth" / name).stat().st_mtime_ns == time for name, time in begun.items())
    with pytest.raises(DataError, match="exists already"):
        made(raw, tmp_path / "nyud")


def test_the_number_of_frames_is_compared_with_the_published_lists(
    raw: Path, tmp_path: Path
) -> None:
    notices = Notices()
    made(raw, tmp_path / "nyud", notices)
    assert notices.heard("train has 2 frames, the published list 795")
    assert notices.heard("val has 1 frames, the published list 654")


def test_room_is_asked_for_before_anything_is_written(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(
        DataError, match=r"3 frames needs 7.1 MB and the disk of .* has 1.0 MB free"
    ):
        made(raw, tmp_path / "nyud")
    assert not (tmp_path / "nyud").exists()


@pytest.mark.parametrize("userblock", [0, 512, 2048])
def test_hdf5_may_begin_after_a_header(tmp_path: Path, userblock: int) -> None:
    from ttt_bench.datatools.prepare.nyud_mat import opened

    with opened(write_mat(tmp_path / "x.mat", 1, userblock)) as file:
        assert len(file["images"]) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2972037809\n"
            + b" " * 14,
            "looks like text",
        ),
        (b"<!DOCTYPE html><title>404</title>", "looks like a web page"),
        (b"MATLAB 5.0 MAT-file".ljust(600), "looks like an older MATLAB file"),
        (b"", "not an HDF5 file: 0 bytes, empty"),
        (bytes(range(256)) * 9, "looks like something else"),
    ],
)
def test_other_files_under_the_name_of_the_raw_frames(
    raw: Path, tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        made(raw, tmp_path / "nyud", mat=path)
    assert f"not an HDF5 file: {len(content):,} bytes" in str(caught.value)
    assert words in str(caught.value)
    assert "2,972,037,809 bytes, an HDF5 file" in str(caught.value), "the wanted file and its size"


def test_a_cut_file_of_raw_frames_is_incomplete(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    shutil.copy(raw / path.name, path)
    cut(path)
    with pytest.raises(DataError, match="incomplete or damaged HDF5 file"):
        made(raw, tmp_path / "nyud", mat=path)


def changed_mat(raw: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """Return a copy of the raw frames after a change of the open file."""
    path = folder / "nyu_depth_v2_labeled.mat"
    shutil.copy(raw / path.name, path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


@pytest.mark.parametrize("name", ["depths", "rawDepths"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_raw_depth_that_no_loader_reads_is_refused(
    raw: Path, tmp_path: Path, name: str, value: float
) -> None:
    def change(file: Any) -> None:
        file[name][1, 300, 200] = value

    path = changed_mat(raw, tmp_path, change)
    message = f"{name} of frame 2 has values that are negative or not finite"
    with pytest.raises(DataError, match=message):
        made(raw, tmp_path / "nyud", mat=path)
    assert not (tmp_path / "nyud" / "NYUDv2").exists()


def test_raw_frames_that_are_no_arrays_are_refused(raw: Path, tmp_path: Path) -> None:
    def change(file: Any) -> None:
        del file["labels"], file["depths"], file["images"]
        file["labels"] = 3
        file.create_group("depths")
        file["images"] = np.zeros((2, 3, 640, 480), np.uint8)

    path = changed_mat(raw, tmp_path, change)
    with pytest.raises(DataError, match="depths, labels must be an array with one entry per frame"):
        made(raw, tmp_path / "nyud", mat=path)


def test_raw_frames_that_another_program_has_locked_are_read(raw: Path, tmp_path: Path) -> None:
    path = changed_mat(raw, tmp_path, lambda file: None)
    with path.open("rb") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        root = made(raw, tmp_path / "nyud", mat=path)
    assert (root / "depth" / "0001.npy").is_file()


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("nyu_depth_v2_labeled.mat", "2,972,037,809 bytes"),
        ("splits.mat", r"splits.mat, a few kilobytes, with trainNdxs \(795 frame numbers\)"),
        ("classMapping40.mat", r"with mapClass \(1x894"),
    ],
)
def test_missing_sources_are_named_with_what_is_wanted(
    raw: Path, tmp_path: Path, missing: str, words: str
) -> None:
    for path in raw.iterdir():
        if path.name != missing:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(DataError, match=f"{missing}: no such file. Wanted: .*{words}"):
        made(tmp_path, tmp_path / "nyud")


def test_splits_and_classes_are_checked(raw: Path, tmp_path: Path) -> None:
    import scipy.io

    out, splits, classes = tmp_path / "n", tmp_path / "s.mat", tmp_path / "c.mat"
    for train, test, words in (
        ((2, 4), (1,), r"trainNdxs must contain different frame numbers in 1..3, got \[4\]"),
        ((0, 2), (1,), r"got \[0\]"),
        ((2, 2), (1,), "different frame numbers"),
        ((1, 2), (2,), "frame 2 is in both lists"),
    ):
        with pytest.raises(DataError, match=words):
            made(raw, out, splits=write_splits(splits, train, test))
    scipy.io.savemat(splits, {"other": 1})
    with pytest.raises(DataError, match="has no trainNdxs"):
        made(raw, out, splits=splits)
    scipy.io.savemat(classes, {"mapClass": np.full((1, 894), 41)})
    with pytest.raises(DataError, match=r"mapClass must contain 894 ids in 1..40"):
        made(raw, out, classes=classes)
    classes.write_text("not found")
    with pytest.raises(DataError, match="not a MATLAB 5 file"):
        made(raw, out, classes=classes)


@pytest.mark.parametrize(
    ("style", "name"), [("atrc", "NYUDv2.tar.gz"), ("vandenhende", "NYUD_MT.tgz")]
)
def test_archives_become_a_folder_that_the_loader_reads(
    tmp_path: Path, style: str, name: str
) -> None:
    source = nyud_files.write(tmp_path / "source", style)
    (source / "human_parts").mkdir()
    (source / "human_parts" / "x.mat").write_bytes(b"not needed")
    archive = pack(tmp_path / name, source, name.split(".")[0])
    root = nyud.prepare_archive(archive, tmp_path / "nyud", Silent())
    assert root == tmp_path / "nyud" / name.split(".")[0]
    expected = {key: value for key, value in tree(source).items() if "human" not in key}
    assert tree(root) == expected
    assert len(NYUD.open(tmp_path / "nyud", "train", (64, 64), Silent())) == 3


def test_an_incomplete_mirror_is_unpacked_with_a_notice(tmp_path: Path) -> None:
    source = nyud_files.write(tmp_path / "source")
    nyud_files.file_of(source, "0003", "normals").unlink()
    notices = Notices()
    nyud.prepare_archive(
        pack(tmp_path / "NYUDv2.tar.gz", source, "NYUDv2"), tmp_path / "nyud", notices
    )
    assert notices.heard("gt_sets/train.txt lists 3 images, the published list 795")
    assert notices.heard("1 images have no normals, such as '0003'")


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    nyud_files.write(tmp_path / "source")
    archive = pack(tmp_path / "x.zip", tmp_path / "source" / "depth", "depth")
    with pytest.raises(
        DataError,
        match=r"contains no gt_sets/train.txt, but depth.*; give NYUDv2 or NYUD_MT",
    ):
        nyud.prepare_archive(archive, tmp_path / "nyud", Silent())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("images", "Images", r"contains NYUDv2/Images/0001.png.* no images/ID.png or .jpg; upper"),
        ("images/0001.png", "images/0001.PNG", r"have no image file.*, found images/0001.PNG\)"),
        ("depth", "DEPTH", "contains NYUDv2/DEPTH/0001.npy.* but no depth/ID.npy; upper and lower"),
        ("images", "photos", "contains no images/ID.png or .jpg, but .*; give NYUDv2 or NYUD_MT"),
    ],
)
def test_archives_with_other_names_of_files_are_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    source = nyud_files.write(tmp_path / "source", ids={"train": ["0001"], "val": ["0002"]})
    (source / old).rename(source / new)
    archive = pack(tmp_path / "NYUDv2.tar.gz", source, "NYUDv2")
    with pytest.raises(DataError, match=message):
        nyud.prepare_archive(archive, tmp_path / "nyud", Silent())
    assert not (tmp_path / "nyud" / "NYUDv2").exists()


@pytest.mark.parametrize("line", ["0001.png", "images/0001", "0001 0001"])
def test_lists_of_other_ids_are_refused_with_an_id(tmp_path: Path, line: str) -> None:
    source = nyud_files.write(tmp_path / "source", ids={"train": ["0001"], "val": ["0002"]})
    (source / "gt_sets" / "train.txt").write_text(f"{line}\n")
    archive = pack(tmp_path / "NYUDv2.tar.gz", source, "NYUDv2")
    with pytest.raises(DataError, match=f"1 of 1 images of .*, such as '{line}'"):
        nyud.prepare_archive(archive, tmp_path / "nyud", Silent())


def test_an_archive_whose_lists_share_images_is_refused(tmp_path: Path) -> None:
    source = nyud_files.write(tmp_path / "source")
    shutil.copy(source / "gt_sets" / "train.txt", source / "gt_sets" / "val.txt")
    archive = pack(tmp_path / "NYUDv2.tar.gz", source, "NYUDv2")
    with pytest.raises(DataError, match=r"share 3 ids .* tested on images it was trained on"):
        nyud.prepare_archive(archive, tmp_path / "nyud", Silent())
    assert not (tmp_path / "nyud" / "NYUDv2").exists()


def test_archives_resume_after_an_interruption(tmp_path: Path) -> None:
    source = nyud_files.write(tmp_path / "source")
    archive = pack(tmp_path / "NYUDv2.tar.gz", source, "NYUDv2")
    with pytest.raises(KeyboardInterrupt):
        nyud.prepare_archive(archive, tmp_path / "nyud", Stopping("unpacking", 4))
    assert not (tmp_path / "nyud" / "NYUDv2").exists()
    nyud.prepare_archive(archive, tmp_path / "nyud", Silent())
    assert tree(tmp_path / "nyud" / "NYUDv2") == tree(source)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Write the release of whole frames, one frame per list."""
    nyud_files.write(
        tmp_path / "nyud" / "NYUD_MT", "vandenhende", {"train": ["a"], "val": ["b"]}, (480, 640)
    )
    return tmp_path / "nyud"


def test_whole_frames_are_cropped_into_another_folder_which_is_preferred(whole: Path) -> None:
    source = whole / "NYUD_MT"
    (source / "ttt-bench.json").write_text(
        '{"normal_axes": "right / up / forward", "checked": ["0"]}'
    )
    root = nyud.prepare_cropped(whole, Silent())
    assert root == whole / "NYUDv2"
    for name in "ab":
        jpeg = np.asarray(Image.open(source / "images" / f"{name}.jpg"))
        np.testing.assert_array_equal(
            np.asarray(Image.open(root / "images" / f"{name}.png")), jpeg[45:470, 40:600]
        )
        for folder in ("depth", "normals", "edge"):
            array = np.load(source / folder / f"{name}.npy")
            np.testing.assert_array_equal(
                np.load(root / folder / f"{name}.npy"), array[45:470, 40:600]
            )
            assert np.load(root / folder / f"{name}.npy").dtype == array.dtype
        labels = np.asarray(Image.open(source / "segmentation" / f"{name}.png"))
        np.testing.assert_array_equal(
            np.asarray(Image.open(root / "segmentation" / f"{name}.png")), labels[45:470, 40:600]
        )
    manifest = json.loads((root / "ttt-bench.json").read_text())
    assert manifest["normal_axes"] == "right / up / forward"
    assert manifest["checked"] == []
    assert "rows 45..469, columns 40..599 of NYUD_MT" in manifest["cropped"]
    data = NYUD.open(whole, "train", (448, 576), Silent())
    assert data.placement(0).original == (425, 560)
    assert not any("480x640" in notice for notice in data.notices)


def test_cropping_resumes_after_an_interruption(whole: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        nyud.prepare_cropped(whole, Stopping("cropping", 1))
    assert not (whole / "NYUDv2").exists()
    assert not half_written(whole)
    nyud.prepare_cropped(whole, Silent())
    assert len(tree(whole / "NYUDv2")) == 2 * 5 + 2 + 1


def test_frames_that_cannot_be_cropped_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        nyud.prepare_cropped(tmp_path / "nowhere", Silent())
    nyud_files.write(tmp_path / "a")
    with pytest.raises(
        DataError, match=r"itself contains gt_sets; move its contents into .*NYUD_MT"
    ):
        nyud.prepare_cropped(tmp_path / "a", Silent())
    nyud_files.write(tmp_path / "b" / "NYUD_MT", "vandenhende")
    with pytest.raises(DataError, match="48 rows and 64 columns, expected 480x640"):
        nyud.prepare_cropped(tmp_path / "b", Silent())
