"""Known failures of these data sets, each as a broken fixture: message and exit code.

The commands are run as from a shell.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.command import call
from support.files import nyud_files, pascal_files
from support.files.raw_files import pack, write_classes, write_mat, write_splits
from support.files.taskonomy_files import cut, file_of, folder_of, rewrite, write


def checked(root: Path, *options: str) -> tuple[int, list[dict[str, Any]]]:
    """Run `data check` and return its exit code and its findings."""
    code, out, _ = call("data", "check", root, "--json", *options)
    return code, json.loads(out)


def reported(findings: list[dict[str, Any]], level: str, *words: str) -> bool:
    """Return whether one finding of a level contains all the words."""
    return any(
        finding["level"] == level and all(word in finding["message"] for word in words)
        for finding in findings
    )


def test_woodbine_is_absent(tmp_path: Path) -> None:
    code, findings = checked(write(tmp_path, ["ihlen"]))
    assert code == 0
    words = (
        "building woodbine is excluded by the downloader because an archive is corrupt; "
        "the published results exclude"
    )
    assert reported(findings, "ok", words, "Nothing to do.")


def test_woodbine_is_there_with_its_damaged_files(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen", "woodbine"])
    cut(file_of(tmp_path, "woodbine", "point_0_view_0", "rgb"))
    assert checked(tmp_path, "--full")[0] == 0, "unused files are not checked"


def test_wiconisco_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen", "wiconisco"])
    cut(file_of(tmp_path, "wiconisco", "point_0_view_0", "normal"))
    code, findings = checked(tmp_path, "--full")
    assert code == 0
    assert reported(
        findings, "ok", "wiconisco is left out by default, as in the official code", "edge_texture"
    )


@pytest.mark.parametrize(
    ("building", "stem"), [("newfields", "point_1070_view_8"), ("muleshoe", "point_399_view_5")]
)
def test_frames_that_stay_corrupt_on_every_download(
    tmp_path: Path, building: str, stem: str
) -> None:
    write(tmp_path, {building: [stem, "point_0_view_0"]})
    cut(file_of(tmp_path, building, stem, "rgb"))
    code, findings = checked(tmp_path, "--full")
    assert code == 0
    assert reported(
        findings,
        "ok",
        f"{building}/{stem}: 1 frame unreadable upstream; excluded in every domain",
        "0.05 %",
    )
    assert json.loads((tmp_path / "ttt-bench.json").read_text())["unreadable"] == [
        f"{building}/{stem}"
    ]


def test_an_archive_is_cut_short(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", ["ihlen"], "B")
    root = write(tmp_path / "root" / "taskonomy", ["hanson"])
    archive = pack(root / "ihlen_rgb.tar", folder_of(raw, "B", "ihlen", "rgb"), "rgb")
    size = archive.stat().st_size
    cut(archive, 0.5)
    code, findings = checked(tmp_path / "root")
    assert code == 0
    assert reported(
        findings,
        "warning",
        f"archive incomplete: {size // 2:,} of at least",
        "delete it and resume",
    )
    assert checked(tmp_path / "root", "--strict")[0] == 1
    code, _, err = call("data", "prepare", "taskonomy", archive, "--data-root", tmp_path / "root")
    assert code == 2
    assert f"archive incomplete: {size // 2:,} of at least" in err
    assert "delete it and resume" in err


def test_a_download_is_not_finished(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", ["ihlen"], "B")
    root = write(tmp_path / "root", ["hanson"])
    archive = pack(root / "ihlen_rgb.tar", folder_of(raw, "B", "ihlen", "rgb"), "rgb")
    size = archive.stat().st_size
    control = struct.pack(">HIIIQQI", 1, 0, 0, 4096, size, 0, 1) + bytes([0b10000000])
    (root / "ihlen_rgb.tar.aria2").write_bytes(control)
    code, findings = checked(root)
    assert code == 0
    assert reported(
        findings, "warning", f"archive incomplete: 4,096 of {size:,} bytes; delete it and resume"
    )


def test_an_extraction_was_interrupted(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen"])
    (tmp_path / "tmpabc123" / "edge_texture").mkdir(parents=True)
    code, findings = checked(tmp_path)
    assert code == 0
    assert reported(findings, "warning", "tmpabc123: temporary folder of an interrupted extraction")


def test_the_download_ends_at_once_with_nothing(tmp_path: Path) -> None:
    code, findings = checked(tmp_path)
    assert code == 2
    assert reported(findings, "error", "is normal, not normals", "--split", "--name and --email")
    (tmp_path / "normals").mkdir()
    (tmp_path / "rgb").mkdir()
    code, findings = checked(tmp_path)
    assert code == 2
    assert reported(findings, "error", "normals: did you mean normal?")


def test_mask_valid_is_not_needed(tmp_path: Path) -> None:
    code, findings = checked(write(tmp_path, ["ihlen"]))
    assert code == 0
    assert reported(findings, "ok", "mask_valid", "not needed: validity is derived from depth")


def test_there_are_18_semantic_values(tmp_path: Path) -> None:
    code, findings = checked(write(tmp_path, ["ihlen"]))
    assert code == 0
    assert reported(
        findings, "ok", "18 values where 17 classes are expected: 0 is uncertain", "handled"
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [("nyud", "1,449 images (795 + 654)"), ("pascal", "10,103 images (4,998 + 5,105)")],
)
def test_links_to_the_archives_are_dead(tmp_path: Path, name: str, count: str) -> None:
    code, _, err = call("data", "prepare", name, "--data-root", tmp_path)
    assert code == 2
    for words in (
        "return 404",
        "READMEs of the GitHub repositories Multi-Task-Transformer and MLoRE",
        count,
    ):
        assert words in err
    assert "http" not in err.split("404")[1].split("mirrors")[0], "mirrors move, so none is named"


def test_nyud_has_480x640_pixels(tmp_path: Path) -> None:
    nyud_files.write(
        tmp_path / "nyud" / "NYUD_MT", "vandenhende", {"train": ["a"], "val": ["b"]}, (480, 640)
    )
    code, findings = checked(tmp_path)
    assert code == 0
    words = "images are 480x640: this is the ASTMT/Vandenhende release, not the 425x560 one"
    assert reported(findings, "warning", words, "`ttt-bench data prepare nyud --crop` makes it")
    assert checked(tmp_path, "--strict")[0] == 1


def test_a_pascal_copy_has_no_normals(tmp_path: Path) -> None:
    root = pascal_files.write(tmp_path)
    shutil.rmtree(root / "normals_distill")
    code, findings = checked(root)
    assert code == 0
    words = (
        "normals_distill missing: 10,103 files expected",
        "the task normals cannot run",
        "other archives have them",
    )
    assert reported(findings, "warning", *words)


def test_a_pascal_archive_is_corrupt_and_a_nyud_archive_incomplete(tmp_path: Path) -> None:
    for name, write_tree in (("pascal", pascal_files.write), ("nyud", nyud_files.write)):
        archive = pack(tmp_path / f"{name}.tar.gz", write_tree(tmp_path / name), name)
        cut(archive)
        code, _, err = call("data", "prepare", name, archive, "--data-root", tmp_path / "root")
        assert code == 2
        assert "archive incomplete: " in err
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("part", ["images", "normals"])
@pytest.mark.parametrize("grey", [255, 128])
def test_nyud_has_a_frame_around_it(tmp_path: Path, part: str, grey: int) -> None:
    nyud_files.write(tmp_path, size=(96, 128))
    for name in nyud_files.IDS["train"] + nyud_files.IDS["val"]:
        path = nyud_files.file_of(tmp_path, name, part)
        picture = np.asarray(Image.open(path)).copy()
        inner = picture[7:-7, 8:-8].copy()
        picture[:] = grey
        picture[7:-7, 8:-8] = inner
        Image.fromarray(picture).save(path)
    code, findings = checked(tmp_path)
    assert code == 0
    what = {"images": "image", "normals": "normals"}[part]
    assert reported(findings, "warning", f"{what}: border present: not cropped (5 of 5 frames")
    assert not reported(findings, "warning", f"{'normals' if what == 'image' else 'image'}: border")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"see README for the link\n".ljust(88), "88 bytes, looks like text"),
        (b"<html>404</html>", "like a web page"),
    ],
)
def test_the_raw_frames_are_a_text_stub(tmp_path: Path, content: bytes, words: str) -> None:
    write_splits(tmp_path / "splits.mat")
    write_classes(tmp_path / "classMapping40.mat")
    mat = tmp_path / "nyu_depth_v2_labeled.mat"
    mat.write_bytes(content)
    code, _, err = call("data", "prepare", "nyud", "--mat", mat, "--data-root", tmp_path / "root")
    assert code == 2
    assert "not an HDF5 file" in err
    assert words in err
    assert "Traceback" not in err


def test_the_raw_frames_lie_where_the_data_set_should(tmp_path: Path) -> None:
    write_mat(tmp_path / "nyu_depth_v2_labeled.mat", 1)
    code, findings = checked(tmp_path)
    assert code == 2
    assert reported(
        findings, "error", "raw nyu_depth_v2_labeled.mat; make the multi-task form from it first"
    )


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("nyud", "--mat", "nyu_depth_v2_labeled.mat"), ("2,972,037,809 bytes", "cs.nyu.edu")),
        (
            ("pascal", "--voc", "voc.tar", "--context", "c", "--lists", "l"),
            ("train.txt (4,998 ids)",),
        ),
        (
            ("pascal", "--voc", "voc.tar"),
            ("VOCtrainval_03-May-2010.tar, about 1.3 GB", "roozbehm.info", "--context"),
        ),
    ],
)
def test_hosts_are_down_and_a_file_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_splits(tmp_path / "splits.mat")
    write_classes(tmp_path / "classMapping40.mat")
    code, _, err = call("data", "prepare", *options, "--data-root", tmp_path)
    assert code == 2
    for words in wanted:
        assert words in err


def test_aria2_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, out, _ = call("data", "prepare", "taskonomy")
    assert code == 0
    assert "aria2c" in out
    assert "required and not found on PATH" in out
    program = tmp_path / "aria2c"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert f"found at {program}" in call("data", "prepare", "taskonomy", "--data-root", tmp_path)[1]
    assert os.listdir(tmp_path) == ["aria2c"], "nothing is run or written"


def test_a_third_form_of_nyu_is_refused_by_name(tmp_path: Path) -> None:
    nyud_files.write_libmtl(tmp_path)
    code, findings = checked(tmp_path)
    assert code == 2
    assert reported(
        findings, "error", "the LibMTL / MTAN form of NYUv2 (288x384 pixels, 13 classes)"
    )


def test_8_bit_depth_and_half_sizes_are_errors(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen"])
    rewrite(
        file_of(tmp_path, "ihlen", "point_0_view_0", "depth_zbuffer"), np.zeros((64, 64), np.uint8)
    )
    rewrite(
        file_of(tmp_path, "ihlen", "point_2_view_0", "depth_zbuffer"),
        np.full((32, 32), 700, np.uint16),
    )
    code, findings = checked(tmp_path)
    assert code == 2
    assert reported(findings, "error", "8-bit grey, expected 16-bit grey")
    assert reported(findings, "error", "32x32 pixels, but the frame's rgb has 64x64")
