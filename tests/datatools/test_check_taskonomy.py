"""`data check` on Taskonomy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.files.inside import as_picture, inside, stored
from support.files.taskonomy_files import DOMAINS, cut, file_of, rewrite, write
from support.findings import among, found
from support.paths import SAMPLES

from ttt_bench.data.listed.manifest import read_manifest
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.datatools.check import Finding, check, exit_code
from ttt_bench.util.progress import Silent

TURNED = "left / up / backward"


def write_rooms(
    root: Path,
    axes: str,
    stems: Sequence[str] = ("point_0_view_0", "point_1_view_0"),
    building: str = "ihlen",
) -> None:
    """Write frames of the inside of a room, with normals in these axes."""
    write(root, {building: stems})
    for number, stem in enumerate(stems):
        room = inside((64, 64), turned=0.1 + 0.2 * number)
        rewrite(
            file_of(root, building, stem, "depth_zbuffer"),
            np.rint(512 * room.metres).astype(np.uint16),
        )
        rewrite(file_of(root, building, stem, "normal"), as_picture(stored(room.vectors, axes)))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write(tmp_path / "taskonomy", ["hanson", "corozal", "ihlen", "noxapater"])
    return tmp_path


@pytest.mark.parametrize("below", ["", "taskonomy"])
def test_a_sound_tree_has_no_error(tree: Path, below: str) -> None:
    findings = check(tree / below, Silent())
    assert {finding.check for finding in findings} == {
        *(
            "layout",
            "splits",
            "frames",
            "files",
            "values",
            "conventions",
            "edges",
            "agreement",
            "classes",
            "fingerprint",
        )
    }
    assert exit_code(findings) == 0
    warnings = [finding.message for finding in findings if finding.level == "warning"]
    # a few frames are not a complete building, and one wall with a box does not decide the axes
    known = ("missing:", "the complete building has", "normal axes cannot be decided")
    assert all(any(words in message for words in known) for message in warnings)
    assert exit_code(findings, strict=True) == 1
    messages = "\n".join(finding.message for finding in findings)
    for words in (
        "layout A",
        "16 frames, each with rgb, semseg, depth, normals, edge",
        "16 of 16 frames decoded",
        "16 of 16 object ids seen",
        "100.0% of the vectors have unit length",
        "mask_valid is not published and not needed",
        "18 values where 17 classes are expected: 0 is uncertain",
        "correlation 1.0000 with the annotator's formula on depth",
        "taskonomy_nyud_7 in train (7 of 7 label maps)",
        "woodbine is excluded by the downloader",
        "wiconisco is left out by default",
    ):
        assert words in messages


def test_exit_codes() -> None:
    ok, warning, error = (
        Finding(level=level, check="values", message="") for level in ("ok", "warning", "error")
    )
    assert exit_code([ok]) == exit_code([ok], strict=True) == 0
    assert (exit_code([ok, warning]), exit_code([ok, warning], strict=True)) == (0, 1)
    assert exit_code([ok, warning, error]) == 2


def test_unusable_files_are_findings(tmp_path: Path) -> None:
    missing = check(tmp_path / "nowhere", Silent())
    assert exit_code(missing) == 2
    assert "does not exist" in missing[0].message
    (tmp_path / "holiday").mkdir()
    unknown = check(tmp_path, Silent())
    assert exit_code(unknown) == 2
    assert "holiday" in unknown[0].message
    assert "Known: " in unknown[0].message


def test_buildings_are_compared_with_the_split(tree: Path) -> None:
    assert found(
        tree, "warning", "splits", "split test: 2 of 5", "missing: muleshoe, uvalda, mcdade"
    )
    assert found(tree, "warning", "splits", "ihlen: 4 frames", "9007")[0].count == 9003
    assert not found(tree, "warning", "splits", "hanson: 4 frames")
    write(tree / "taskonomy", ["myhouse"])
    assert found(tree, "warning", "splits", "not in the tiny split", "myhouse")


def test_leftovers_and_strays_are_named(tree: Path) -> None:
    (tree / "taskonomy" / "tmpabc123").mkdir()
    (tree / "taskonomy" / "rgb" / "taskonomy" / "ihlen" / ".DS_Store").touch()
    leftover = found(tree, "warning", "layout", "temporary folder of an interrupted")[0]
    assert leftover.path.name == "tmpabc123"
    assert found(tree, "ok", "layout", "do not belong to a frame")[0].path.name == ".DS_Store"


def test_missing_files_are_counted_by_building_and_domain(tree: Path) -> None:
    for stem in ("point_0_view_1", "point_2_view_0"):
        file_of(tree / "taskonomy", "ihlen", stem, "normal").unlink()
    finding = found(tree, "warning", "frames", "ihlen: 2 frames have no normal", "point_0_view_1")[
        0
    ]
    assert finding.count == 2
    assert finding.path.name == "ihlen"
    assert found(tree, "ok", "fingerprint", "of test (all): 6 frames")


def test_a_missing_domain_names_its_task(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen"], domains=DOMAINS[:3])
    assert found(tmp_path, "warning", "frames", "segment_semantic", "task semseg cannot run")
    assert found(tmp_path, "warning", "frames", "edge_occlusion", "task edge cannot run")


@pytest.mark.parametrize(
    ("domains", "words"), [(DOMAINS[1:], "no rgb image"), (DOMAINS[:1], "cannot run")]
)
def test_without_images_or_targets_nothing_can_run(
    tmp_path: Path, domains: tuple[str, ...], words: str
) -> None:
    write(tmp_path, ["ihlen"], domains=domains)
    assert found(tmp_path, "error", "frames", words)
    assert exit_code(check(tmp_path, Silent())) == 2


def test_without_one_complete_frame_nothing_can_run(tmp_path: Path) -> None:
    write(tmp_path, {"ihlen": ["point_0_view_0"]}, domains=DOMAINS[:1])
    write(tmp_path, {"ihlen": ["point_1_view_0"]}, domains=DOMAINS[1:])
    assert found(tmp_path, "error", "frames", "not one of 2 frames has all of rgb, semseg")


def test_damaged_files_are_errors_with_a_remedy(tree: Path) -> None:
    root = tree / "taskonomy"
    cut(file_of(root, "ihlen", "point_0_view_0", "rgb"))
    rewrite(
        file_of(root, "hanson", "point_0_view_0", "depth_zbuffer"), np.zeros((64, 64), np.uint8)
    )
    rewrite(
        file_of(root, "hanson", "point_2_view_0", "normal"), np.full((32, 32, 3), 128, np.uint8)
    )
    for words in ("truncated", "8-bit grey, expected 16-bit grey", "32x32 pixels"):
        finding = found(tree, "error", "files", words, "Download the file again, or delete it")[0]
        assert ".png" in finding.message
        assert finding.path.suffix == ".png"
    assert exit_code(check(tree, Silent())) == 2


def test_a_frame_damaged_upstream_is_not_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"muleshoe": ["point_399_view_5", "point_0_view_0"]})
    file_of(tmp_path, "muleshoe", "point_399_view_5", "rgb").write_bytes(b"")
    assert found(tmp_path, "ok", "files", "unreadable upstream", "Nothing to do")
    assert exit_code(check(tmp_path, Silent())) == 0


@pytest.mark.parametrize(("factor", "warned"), [(1, False), (16, True), (1 / 16, True)])
def test_another_depth_unit_is_noticed(tmp_path: Path, factor: float, warned: bool) -> None:
    write(tmp_path, {"ihlen": ["point_0_view_0"]})
    path = file_of(tmp_path, "ihlen", "point_0_view_0", "depth_zbuffer")
    rewrite(path, np.full((64, 64), int(3 * 512 * factor), np.uint16))
    assert bool(found(tmp_path, "warning", "values", "depth unit is not 1/512 m")) == warned


def test_values_that_cannot_be_right(tmp_path: Path) -> None:
    write(tmp_path, {"ihlen": ["point_0_view_0"]})

    def put(domain: str, array: NDArray[Any]) -> None:
        rewrite(file_of(tmp_path, "ihlen", "point_0_view_0", domain), array)

    put("normal", np.full((64, 64, 3), 250, np.uint8))
    put("depth_zbuffer", np.full((64, 64), 65535, np.uint16))
    put("edge_occlusion", np.zeros((64, 64), np.uint16))
    put("segment_semantic", np.ones((64, 64), np.uint8))
    assert found(tmp_path, "warning", "values", "normals: 0.0%", "not 8-bit vectors")
    assert found(tmp_path, "warning", "values", "100.0% of the pixels are invalid")
    assert found(tmp_path, "warning", "values", "edges: 0 in every decoded frame")
    assert found(tmp_path, "warning", "values", "0.0% of the pixels show an object")


@pytest.mark.parametrize("axes", ["right / down / forward", TURNED, "forward / down / right"])
def test_axes_are_measured_and_kept_for_the_loader(tmp_path: Path, axes: str) -> None:
    root = tmp_path / "taskonomy"
    write_rooms(root, axes)
    usual = axes == "right / down / forward"
    assert found(tmp_path, "ok" if usual else "warning", "conventions", axes, "measured: ")
    assert read_manifest(root).normal_axes is None, "nothing is kept unless that is asked for"
    findings = check(tmp_path, Silent(), store=True)
    (kept,) = (finding for finding in findings if finding.check == "conventions")
    assert kept.level == "ok"
    assert ("the channels are reversed" in kept.message) == (axes == "forward / down / right")
    assert read_manifest(root).normal_axes == axes
    data = Taskonomy.open(root, "test", (64, 64), Silent(), subset="all")
    assert data.axes == axes
    assert not any("normal axes" in notice or "checked" in notice for notice in data.notices)
    room = inside((64, 64), turned=0.1)
    assert np.abs(data.batch([0]).targets["normals"][0].numpy() - room.vectors).max() < 0.02


def test_undecided_axes_are_not_kept(tree: Path) -> None:
    findings = check(tree, Silent(), store=True)
    assert any("cannot be decided" in finding.message for finding in findings)
    assert read_manifest(tree / "taskonomy").normal_axes is None


def test_fingerprints_are_those_of_the_data_sets(tmp_path: Path) -> None:
    write(
        tmp_path / "taskonomy",
        {"ihlen": [f"point_{n}_view_0" for n in range(12)], "corozal": ["point_0_view_0"] * 1},
    )
    findings = check(tmp_path, Silent(), store=True)
    marks = {finding.message.split()[0] for finding in findings if finding.check == "fingerprint"}
    for split, subset in (
        ("test", "first_tenth"),
        ("tune", "first_tenth"),
        ("test", "all"),
        ("val", "all"),
    ):
        data = Taskonomy.open(tmp_path / "taskonomy", split, (32, 32), Silent(), subset=subset)
        assert data.files_fingerprint in marks
        assert not any("checked" in notice for notice in data.notices)
    rewrite(
        file_of(tmp_path / "taskonomy", "ihlen", "point_0_view_0", "rgb"),
        np.zeros((64, 64, 3), np.uint8),
    )
    changed = Taskonomy.open(tmp_path / "taskonomy", "test", (32, 32), Silent())
    assert any(
        "these files are not the ones that were checked" in notice for notice in changed.notices
    )


def test_files_with_errors_do_not_count_as_checked(tree: Path) -> None:
    cut(file_of(tree / "taskonomy", "ihlen", "point_0_view_0", "rgb"))
    check(tree, Silent(), store=True)
    assert read_manifest(tree / "taskonomy").checked == ()
    data = Taskonomy.open(tree / "taskonomy", "test", (32, 32), Silent(), subset="all")
    assert any("these files were not checked" in notice for notice in data.notices)


def test_a_read_only_folder_gives_a_warning_and_is_not_changed(tree: Path) -> None:
    root = tree / "taskonomy"
    root.chmod(0o555)
    findings = check(tree, Silent(), store=True)
    root.chmod(0o755)
    (warning,) = (finding for finding in findings if "cannot be stored" in finding.message)
    assert warning.level == "warning"
    assert "read-only" in warning.message
    assert not (root / "ttt-bench.json").exists()


def test_edges_that_do_not_follow_from_depth_are_noticed(tree: Path) -> None:
    for building in ("hanson", "corozal", "ihlen", "noxapater"):
        for stem in ("point_0_view_0", "point_0_view_1", "point_2_view_0", "point_10_view_0"):
            draw = np.random.default_rng(len(stem))
            path = file_of(tree / "taskonomy", building, stem, "edge_occlusion")
            rewrite(path, draw.integers(0, 5000, (64, 64), dtype=np.uint16))
    assert found(tree, "warning", "edges", "correlation", "not the published edges")
    assert exit_code(check(tree, Silent())) == 0


def test_a_class_without_a_pixel_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"ihlen": [f"point_{n}_view_0" for n in range(10)]})
    for number in range(10):
        path = file_of(tmp_path, "ihlen", f"point_{number}_view_0", "segment_semantic")
        rewrite(path, np.full((64, 64), 3, np.uint8))
    assert found(
        tmp_path, "ok", "classes", "taskonomy_nyud_7 in test (1 of 1 label maps)", "chair 100.00%"
    )
    assert found(tmp_path, "warning", "classes", "taskonomy_nyud_7: class bed has no pixel in test")
    assert not found(tmp_path, "warning", "classes", "class chair")


def test_only_a_sample_is_decoded_unless_all_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ttt_bench.datatools.check import contents

    monkeypatch.setattr(contents, "SAMPLE", 2)
    write(tmp_path, ["ihlen"])
    cut(file_of(tmp_path, "ihlen", "point_0_view_1", "rgb"))
    assert found(tmp_path, "ok", "files", "2 of 4 frames decoded")
    findings = check(tmp_path, Silent(), full=True)
    assert any(
        "point_0_view_1" in finding.message for finding in findings if finding.level == "error"
    )


def test_files_that_are_unreadable_upstream_are_listed_in_the_manifest(tmp_path: Path) -> None:
    write(tmp_path, {"muleshoe": ["point_399_view_5", "point_0_view_0"]})
    check(tmp_path, Silent(), store=True)
    assert json.loads((tmp_path / "ttt-bench.json").read_text())["unreadable"] == [
        "muleshoe/point_399_view_5"
    ]


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are missing")
def test_genuine_samples_warn_of_their_depth_unit_and_are_usable() -> None:
    root = SAMPLES / "taskonomy"
    findings = check(root, Silent())
    assert exit_code(findings) == 0
    assert among(findings, "warning", "values", "the depth unit is not 1/512 m")
    assert among(findings, "warning", "splits", "none of the known buildings")
    assert among(findings, "warning", "frames", "task semseg cannot run")
    assert among(findings, "ok", "values", "normals", "unit length")
    assert among(findings, "ok", "conventions", "right / down / forward (x, y, z), measured: 2.")
    assert among(findings, "ok", "edges", "correlation 1.0000", "frames: 3")
