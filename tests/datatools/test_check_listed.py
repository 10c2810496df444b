"""`data check` on NYUD-v2 and PASCAL-Context."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.files import nyud_files, pascal_files
from support.files.inside import FLOOR, as_picture, inside, stored
from support.findings import among

from ttt_bench.data.label_spaces import LABEL_SPACES
from ttt_bench.data.listed.manifest import read_manifest
from ttt_bench.data.nyud.dataset import NYUD
from ttt_bench.data.pascal.dataset import PascalContext
from ttt_bench.datatools.check import check, exit_code
from ttt_bench.util.progress import Silent

AXES = "backward / up / left"


@pytest.fixture
def nyud(tmp_path: Path) -> Path:
    return nyud_files.write(tmp_path / "nyud")


@pytest.fixture
def pascal(tmp_path: Path) -> Path:
    return pascal_files.write(tmp_path / "pascal")


@pytest.mark.parametrize("style", ["atrc", "vandenhende"])
def test_a_sound_nyud_has_no_error(tmp_path: Path, style: str) -> None:
    nyud_files.write(tmp_path, style)
    findings = check(tmp_path, Silent())
    assert exit_code(findings) == 0
    release = "the ATRC release" if style == "atrc" else "the ASTMT / Vandenhende release"
    assert among(findings, "ok", "layout", release)
    assert bool(among(findings, "warning", "frames", "the published results use")) == (
        style == "vandenhende"
    )
    assert (
        among(
            findings, "warning", "splits", "gt_sets/train.txt: 3 images, the published list has 795"
        )[0].count
        == 792
    )
    assert among(findings, "ok", "files", "5 of 5 frames decoded")
    assert among(findings, "ok", "values", "normals: 100.0% of the vectors have unit length")
    assert among(findings, "ok", "values", "edges: 0 and 1 only")
    assert among(
        findings, "ok", "classes", "taskonomy_nyud_7 in train (3 of 3 label maps)", "bed 3.12%"
    )
    assert among(
        findings,
        "warning",
        "classes",
        "nyud_pascal_4: class person has no pixel in test (2 of 2 label maps)",
    )
    assert not among(findings, "warning", "values", "border")


def test_a_sound_pascal_has_no_error(pascal: Path) -> None:
    findings = check(pascal, Silent())
    assert exit_code(findings) == 0
    assert among(findings, "warning", "splits", "val.txt: 3 images, the published list has 5105")
    assert among(findings, "warning", "frames", "edges are made from the labels")
    assert among(findings, "ok", "values", "11 of 459 labels seen")
    assert among(findings, "ok", "values", "of the pixels are void")
    toilets = among(findings, "ok", "classes", "taskonomy_pascal_6_toilet in train")
    assert "toilet 0.00%" not in toilets[0].message


def test_missing_packages_are_named(pascal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "scipy.io", None)
    findings = check(pascal, Silent())
    assert exit_code(findings) == 2
    assert among(findings, "error", "frames", 'pip install "ttt-bench[data]"')


def test_values_that_cannot_be_right(nyud: Path) -> None:
    for name in nyud_files.IDS["train"] + nyud_files.IDS["val"]:
        np.save(nyud_files.file_of(nyud, name, "depth"), np.full((48, 64), 50.0, np.float32))
        Image.fromarray(np.full((48, 64), 128, np.uint8)).save(
            nyud_files.file_of(nyud, name, "edge")
        )
        Image.fromarray(np.full((48, 64, 3), 250, np.uint8)).save(
            nyud_files.file_of(nyud, name, "normals")
        )
    findings = check(nyud, Silent())
    assert among(findings, "warning", "values", "depth: median 50.00 m", "not in metres")
    assert among(findings, "warning", "values", "edges: 100.0% of the pixels are neither 0 nor 1")
    assert among(findings, "warning", "values", "normals: 0.0%", "not unit vectors")
    for name in nyud_files.IDS["train"] + nyud_files.IDS["val"]:
        np.save(nyud_files.file_of(nyud, name, "depth"), np.zeros((48, 64), np.float32))
        Image.fromarray(np.zeros((48, 64), np.uint8)).save(nyud_files.file_of(nyud, name, "edge"))
    findings = check(nyud, Silent())
    assert among(findings, "warning", "values", "depth: 100.0% of the pixels are invalid")
    assert among(findings, "warning", "values", "edges: 0 in every decoded frame")
    assert among(findings, "warning", "conventions", "no frame has enough normals to measure them")


def test_damaged_and_missing_files_are_errors(nyud: Path) -> None:
    nyud_files.file_of(nyud, "0003", "depth").unlink()
    findings = check(nyud, Silent())
    assert exit_code(findings) == 2
    assert among(
        findings,
        "error",
        "frames",
        "1 of 3 images of gt_sets/train.txt have no depth file, such as '0003'",
    )
    np.save(nyud_files.file_of(nyud, "0003", "depth"), np.full((24, 64), 2.0, np.float32))
    findings = check(nyud, Silent())
    assert among(
        findings, "error", "files", "depth/0003.npy: 64x24 pixels", "from the archive again"
    )
    np.save(nyud_files.file_of(nyud, "0003", "depth"), np.full((48, 64), 2, np.int32))
    findings = check(nyud, Silent())
    assert among(findings, "error", "files", "depth as int32")


def test_lists_must_not_share_images(nyud: Path) -> None:
    (nyud / "gt_sets" / "val.txt").write_text("0001\n0003")
    findings = check(nyud, Silent())
    assert exit_code(findings) == 2
    assert (
        among(findings, "error", "splits", "1 images are in both lists, such as 0003")[0].count == 1
    )


def test_labels_that_were_lowered_already_are_recognised(nyud: Path) -> None:
    path = nyud_files.file_of(nyud, "0003", "segmentation")
    labels = np.asarray(Image.open(path))
    Image.fromarray(labels - np.uint8(1)).save(path)  # void becomes 255
    findings = check(nyud, Silent())
    assert exit_code(findings) == 2
    assert among(
        findings, "error", "files", "lowered by one already (the VainF toolkit writes them so)"
    )


@pytest.mark.parametrize("axes", [AXES, "left / up / backward"])
def test_axes_of_nyud_are_measured_with_the_known_camera_and_kept(
    tmp_path: Path, axes: str
) -> None:
    # at the true size, for which the camera is known; one frame per list, because these are large
    ids = {"train": ["a"], "val": ["b"]}
    nyud_files.write(tmp_path, ids=ids, size=(425, 560))
    for name, turned in (("a", 0.1), ("b", -0.3)):
        room = inside((425, 560), (518.858, 519.470), (285.582, 208.736), turned)
        metres = room.metres + np.random.default_rng(0).normal(0, 0.004, room.metres.shape)
        np.save(nyud_files.file_of(tmp_path, name, "depth"), metres.astype(np.float32))
        Image.fromarray(as_picture(stored(room.vectors, axes))).save(
            nyud_files.file_of(tmp_path, name, "normals")
        )
    findings = check(tmp_path, Silent(), store=True)
    assert among(findings, "ok", "conventions", axes, "frames: 2")
    assert ("the channels are reversed" in "".join(f.message for f in findings)) == (axes == AXES)
    assert read_manifest(tmp_path).normal_axes == axes
    data = NYUD.open(tmp_path, "train", (448, 576), Silent())
    assert data.axes == axes
    room = inside((425, 560), (518.858, 519.470), (285.582, 208.736), 0.1)
    found = data.batch([0]).targets["normals"][0].numpy()[:, 11:436, 8:568]
    assert np.abs(found - room.vectors).max() < 0.02


def write_room(root: Path, name: str, axes: str, floor: bool) -> None:
    """Write an image of the inside of a room; its floor is labelled as floor or as unknown."""
    room = inside((75, 100))
    labels = np.where((room.surface == FLOOR) & floor, 158, 440).astype(np.uint16)
    pascal_files.write_view(
        root, name, pascal_files.PascalView(*pascal_files.view((75, 100)).__dict__.values())
    )
    import scipy.io

    scipy.io.savemat(
        pascal_files.file_of(root, name, "pascal-context/trainval"), {"LabelMap": labels}
    )
    path = pascal_files.file_of(root, name, "normals_distill")
    Image.fromarray(as_picture(stored(room.vectors, axes))).save(path)


@pytest.mark.parametrize("axes", [AXES, "left / up / backward"])
@pytest.mark.parametrize("floor", [True, False])
def test_axes_of_pascal_are_measured_without_depth_and_kept(
    tmp_path: Path, axes: str, floor: bool
) -> None:
    pascal_files.write(tmp_path, {"train": [], "val": []})
    for name, listed in {"train": ["2008_000001"], "val": ["2008_000002"]}.items():
        (tmp_path / "ImageSets" / "Context" / f"{name}.txt").write_text("\n".join(listed))
        write_room(tmp_path, listed[0], axes, floor)
    findings = check(tmp_path, Silent(), store=True)
    (finding,) = among(findings, "ok", "conventions", axes, "0.0% of the vectors point away")
    assert ("floors face up (pictures: 2)" in finding.message) == floor
    assert read_manifest(tmp_path).normal_axes == axes


def test_pascals_axes_are_not_checked_without_context_labels(pascal: Path) -> None:
    for name in pascal_files.IDS["train"] + pascal_files.IDS["val"]:
        pascal_files.file_of(pascal, name, "pascal-context/trainval").unlink()
    findings = check(pascal, Silent())
    assert exit_code(findings) == 0, "classes can be trained on all the same"
    assert among(findings, "warning", "frames", "no Context labels")
    assert not [finding for finding in findings if finding.check == "conventions"]


@pytest.mark.parametrize(
    ("dataset", "write"), [(NYUD, nyud_files.write), (PascalContext, pascal_files.write)]
)
def test_fingerprints_are_those_of_the_data_sets(
    tmp_path: Path, dataset: Any, write: Callable[..., Path]
) -> None:
    write(tmp_path)
    findings = check(tmp_path, Silent(), store=True)
    marks = {finding.message.split()[0] for finding in findings if finding.check == "fingerprint"}
    spaces = [space for space in LABEL_SPACES.values() if set(space.native) & set(dataset.id_sets)]
    assert len(spaces) > 1
    for space in spaces:
        for split in ("train", "test"):
            data = dataset.open(tmp_path, split, (64, 64), Silent(), space)
            assert data.files_fingerprint in marks
            assert not any("checked" in notice for notice in data.notices)
    assert read_manifest(tmp_path).checked == tuple(sorted(marks))
    (tmp_path / "ttt-bench.json").unlink()
    data = dataset.open(tmp_path, "test", (64, 64), Silent())
    assert any("these files were not checked" in notice for notice in data.notices)
