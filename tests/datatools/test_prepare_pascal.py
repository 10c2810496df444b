"""PASCAL-Context from archives and raw sources, and the files derived from its labels."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.files import pascal_files
from support.files.raw_files import (
    Stopping,
    half_written,
    left_by_killed_process,
    pack,
    tree,
    write_voc,
)
from support.files.taskonomy_files import cut
from support.notices import Notices

from ttt_bench.data.pascal.dataset import PascalContext
from ttt_bench.datatools.prepare.pascal import PascalSources, complete, prepare_archive, prepare_raw
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent

NAMES = pascal_files.IDS["train"] + pascal_files.IDS["val"]


@pytest.fixture
def raw(tmp_path: Path) -> PascalSources:
    """Write raw sources as folders; VOC 2012 has masks of two images."""
    multi = pascal_files.write(tmp_path / "multi")
    source = tmp_path / "sources"
    shutil.copytree(multi / "JPEGImages", source / "VOCdevkit" / "VOC2010" / "JPEGImages")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(
        source / "VOCdevkit" / "VOC2010" / "JPEGImages" / "2007_9.jpg"
    )
    shutil.copytree(multi / "pascal-context" / "trainval", source / "trainval")
    shutil.copytree(multi / "ImageSets" / "Context", source / "lists")
    masks = write_voc(source / "VOC2012", NAMES[:2], "SegmentationClass", ".png")
    write_voc(masks, NAMES[:2], "SegmentationObject", ".png")
    return PascalSources(
        images=source / "VOCdevkit",
        context=source / "trainval",
        lists=source / "lists",
        masks=masks,
    )


def test_archives_become_a_folder_with_edges_and_classes_that_the_loader_reads(
    tmp_path: Path,
) -> None:
    source = pascal_files.write(tmp_path / "source")
    gap = next((source / "semseg" / "pascal-context").iterdir())
    gap.unlink()
    for folder in ("sal_distill", "others"):
        (source / folder).mkdir()
        (source / folder / "x.png").write_bytes(b"not checked here")
    archive = pack(tmp_path / "PASCALContext.tar.gz", source, "PASCALContext")
    root = prepare_archive(archive, tmp_path / "pascal", Silent())
    assert root == tmp_path / "pascal" / "PASCALContext"
    assert (root / "sal_distill").exists()
    assert not (root / "others").exists()
    for name in NAMES:
        assert set(np.unique(np.asarray(Image.open(root / "edge" / f"{name}.png")))) == {0, 255}
    # the missing map is made from the labels: the same ids, without a void border
    shown = pascal_files.view(pascal_files.SIZES[NAMES.index(gap.stem) % 2], NAMES.index(gap.stem))
    np.testing.assert_array_equal(
        np.asarray(Image.open(root / "semseg" / "pascal-context" / gap.name)), shown.voc
    )
    data = PascalContext.open(tmp_path / "pascal", "test", (128, 128), Silent())
    assert data.tasks == ("semseg", "normals", "edge")
    assert not any("edges are made from the labels whenever" in notice for notice in data.notices)
    before = PascalContext.open(source, "train", (128, 128), Silent()).batch([0])
    after = PascalContext.open(root, "train", (128, 128), Silent()).batch([0])
    for task in data.tasks:
        assert (before.targets[task] == after.targets[task]).all()


def test_a_mirror_without_normals_gives_a_notice(tmp_path: Path) -> None:
    source = pascal_files.write(tmp_path / "source")
    shutil.rmtree(source / "normals_distill")
    notices = Notices()
    prepare_archive(
        pack(tmp_path / "PASCAL_MT.tgz", source, "PASCAL_MT"), tmp_path / "pascal", notices
    )
    assert notices.heard(
        "normals_distill missing: 10,103 files expected", "other archives have them"
    )
    assert notices.heard("the task normals is unavailable")
    assert notices.heard("val.txt lists 3 images, the published list 5105")


@pytest.mark.parametrize("packed", [False, True])
def test_raw_sources_become_the_data_set_without_normals(
    tmp_path: Path, raw: PascalSources, packed: bool
) -> None:
    if packed:
        raw = PascalSources(
            images=pack(tmp_path / "VOCtrainval_03-May-2010.tar", raw.images, "VOCdevkit"),
            context=pack(tmp_path / "trainval.tar.gz", raw.context, "trainval"),
            lists=raw.lists,
            masks=pack(tmp_path / "VOCtrainval_11-May-2012.tar", raw.masks, "VOCdevkit/VOC2012"),
        )
    notices = Notices()
    root = prepare_raw(raw, tmp_path / "pascal", notices)
    assert notices.heard("normals", "cannot be made", "the task normals is unavailable")
    assert sorted(path.stem for path in (root / "JPEGImages").iterdir()) == sorted(NAMES)
    assert sorted(path.stem for path in (root / "semseg" / "VOC12").iterdir()) == sorted(NAMES[:2])
    assert sorted(path.stem for path in (root / "semseg" / "pascal-context").iterdir()) == sorted(
        NAMES[2:]
    )
    assert (np.asarray(Image.open(root / "semseg" / "VOC12" / f"{NAMES[0]}.png")) == 9).all()
    data = PascalContext.open(root, "test", (128, 128), Silent())
    assert data.tasks == ("semseg", "edge")
    assert len(data) == 3


def test_masks_may_be_absent(tmp_path: Path, raw: PascalSources) -> None:
    root = prepare_raw(replace(raw, masks=None), tmp_path / "pascal", Silent())
    assert len(list((root / "semseg" / "pascal-context").iterdir())) == 5


@pytest.mark.parametrize(
    "title",
    ["copying JPEGImages", "making PASCAL-Context's classes", "making PASCAL-Context's edges"],
)
def test_raw_sources_resume_after_an_interruption(
    tmp_path: Path, raw: PascalSources, title: str
) -> None:
    whole = prepare_raw(raw, tmp_path / "a", Silent())
    with pytest.raises(KeyboardInterrupt):
        prepare_raw(raw, tmp_path / "b", Stopping(title, 2))
    assert not (tmp_path / "b" / "PASCALContext").exists()
    assert not half_written(tmp_path)
    assert tree(prepare_raw(raw, tmp_path / "b", Silent())) == tree(whole)


def test_missing_raw_sources_are_named(tmp_path: Path, raw: PascalSources) -> None:
    out = tmp_path / "pascal"
    for name, words in (
        ("images", r"VOCtrainval_03-May-2010.tar, about 1.3 GB"),
        ("context", r"trainval.tar.gz, 10,103 .mat files.*the Stanford address is dead"),
        ("lists", r"train.txt \(4,998 ids\)"),
    ):
        given = replace(raw, **{name: tmp_path / "nowhere"})
        with pytest.raises(DataError, match=f"nowhere.*Wanted: .*{words}"):
            prepare_raw(given, out, Silent())
    (raw.context / f"{NAMES[1]}.mat").unlink()
    with pytest.raises(
        DataError, match=rf"lacks 1 of the 5 files of the listed images, such as .*{NAMES[1]}.mat"
    ):
        prepare_raw(raw, out, Silent())
    assert not out.exists()


def test_bad_archives_of_raw_sources_are_refused(tmp_path: Path, raw: PascalSources) -> None:
    archive = pack(tmp_path / "voc.tar", raw.images)
    cut(archive, 0.8)
    with pytest.raises(DataError, match="archive incomplete"):
        prepare_raw(replace(raw, images=archive), tmp_path / "pascal", Silent())
    (tmp_path / "voc.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match="neither a folder nor an archive of a known format"):
        prepare_raw(replace(raw, images=tmp_path / "voc.rar"), tmp_path / "pascal", Silent())


def test_an_existing_folder_is_completed_in_place_and_resumes(tmp_path: Path) -> None:
    a = pascal_files.write(tmp_path / "a")
    # not written twice: a .mat file contains the second in which it was written
    b = shutil.copytree(a, tmp_path / "b")
    complete(a, Silent())
    with pytest.raises(KeyboardInterrupt):
        complete(b, Stopping("making PASCAL-Context's edges", 1))
    assert not half_written(b)
    complete(b, Silent())
    assert tree(a) == tree(b)
    assert complete(b, Silent()) == b


def test_room_is_asked_for(
    tmp_path: Path, raw: PascalSources, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000))
    with pytest.raises(
        DataError,
        match=r"PASCAL-Context of 5 images needs .* kB and the disk of .* has 1.0 kB free",
    ):
        prepare_raw(raw, tmp_path / "pascal", Silent())
    with pytest.raises(DataError, match=r"classes of 0 images and edges of 5 needs 60.0 kB"):
        complete(tmp_path / "multi", Silent())


def test_damaged_labels_are_named(tmp_path: Path) -> None:
    root = pascal_files.write(tmp_path)
    cut(pascal_files.file_of(root, NAMES[0], "pascal-context/trainval"))
    with pytest.raises(DataError, match=rf"{NAMES[0]}.mat: not a MATLAB 5 file, or truncated"):
        complete(root, Silent())


def test_lists_that_share_images_are_refused(tmp_path: Path, raw: PascalSources) -> None:
    with (raw.lists / "train.txt").open("a") as train:
        train.write(f"{NAMES[-1]}\n")
    with pytest.raises(DataError, match=rf"train.txt and val.txt share 1 ids \({NAMES[-1]}\)"):
        prepare_raw(raw, tmp_path / "pascal", Silent())
    assert not (tmp_path / "pascal").exists()
    root = pascal_files.write(tmp_path / "whole")
    shutil.copy(root / "ImageSets/Context/val.txt", root / "ImageSets/Context/train.txt")
    with pytest.raises(DataError, match=r"share 3 ids"):
        complete(root, Silent())


def test_a_source_of_another_size_does_not_continue_a_draft(
    tmp_path: Path, raw: PascalSources
) -> None:
    archive = pack(tmp_path / "voc.tar", raw.images, "VOCdevkit")
    given = replace(raw, images=archive)
    with pytest.raises(KeyboardInterrupt):
        prepare_raw(given, tmp_path / "pascal", Stopping("unpacking", 2))
    picture = raw.images / "VOC2010" / "JPEGImages" / f"{NAMES[0]}.jpg"
    picture.write_bytes(picture.read_bytes() + b"more")
    pack(archive, raw.images, "VOCdevkit")
    with pytest.raises(DataError, match="made by an interrupted command with other options"):
        prepare_raw(given, tmp_path / "pascal", Silent())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("old", "new"), [("", ".JPG"), ("JPEGImages", "jpegimages")])
def test_names_of_another_case_are_named(
    tmp_path: Path, raw: PascalSources, packed: bool, old: str, new: str
) -> None:
    folder = raw.images / "VOC2010" / "JPEGImages"
    if old:
        folder.rename(folder.with_name(new))
    else:
        for path in folder.iterdir():
            path.rename(path.with_suffix(new))
    given = replace(raw, images=pack(tmp_path / "v.tar", raw.images)) if packed else raw
    message = r"lacks 5 of the 5 files .* but has .*(JPG|jpegimages).*; upper and lower case count"
    with pytest.raises(DataError, match=message):
        prepare_raw(given, tmp_path / "pascal", Silent())


def test_two_files_of_an_image_must_be_equal(tmp_path: Path, raw: PascalSources) -> None:
    first = raw.images / "VOC2010" / "JPEGImages"
    second = raw.images / "VOC2012" / "JPEGImages"
    shutil.copytree(first, second)
    prepare_raw(raw, tmp_path / "equal", Silent())
    changed = second / f"{NAMES[0]}.jpg"
    changed.write_bytes(changed.read_bytes() + b"more")
    with pytest.raises(DataError, match=rf"VOC2010.*{NAMES[0]}.jpg and .*VOC2012.* differ"):
        prepare_raw(raw, tmp_path / "other", Silent())


def test_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    a, b = (pascal_files.write(tmp_path / name) for name in "ab")
    complete(a, Silent())
    left_by_killed_process(b / "edge" / "x.png")
    complete(b, Silent())
    assert tree(a) == tree(b)
