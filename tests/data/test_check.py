import numpy as np
import pytest
from taskonomy_files import DOMAINS, SAMPLES, cut, file_of, rewrite, write

from ttt_bench.data.check import Finding, check, exit_code
from ttt_bench.progress import Silent


def found(root, level, name, *words):
    """The findings of a check at a level whose message holds all the words."""
    return [
        finding
        for finding in check(root, Silent())
        if (finding.level, finding.check) == (level, name) and all(word in finding.message for word in words)
    ]


@pytest.fixture
def tree(tmp_path):
    write(tmp_path / "taskonomy", ["hanson", "corozal", "ihlen", "noxapater"])
    return tmp_path


@pytest.mark.parametrize("below", ["", "taskonomy"])
def test_a_sound_tree_has_no_error(tree, below):
    findings = check(tree / below, Silent())
    assert {finding.check for finding in findings} == {"layout", "splits", "frames", "files", "values", "fingerprint"}
    assert exit_code(findings) == 0
    warnings = [finding.message for finding in findings if finding.level == "warning"]
    # a handful of frames is no whole building, and that is all there is to say
    assert all("missing:" in message or "a whole building has" in message for message in warnings)
    assert exit_code(findings, strict=True) == 1
    messages = "\n".join(finding.message for finding in findings)
    for words in (
        "layout A",
        "16 frames, each with rgb, semseg, depth, normals, edge",
        "16 of 16 frames decoded",
        "16 of 16 object ids seen",
        "100.0% of the vectors have unit length",
        "woodbine is excluded by the downloader",
        "wiconisco is left out by default",
    ):
        assert words in messages


def test_exit_codes():
    ok, warning, error = (Finding(level, "values", "") for level in ("ok", "warning", "error"))
    assert exit_code([ok]) == exit_code([ok], strict=True) == 0
    assert (exit_code([ok, warning]), exit_code([ok, warning], strict=True)) == (0, 1)
    assert exit_code([ok, warning, error]) == 2


def test_what_is_unusable_is_a_finding(tmp_path):
    missing = check(tmp_path / "nowhere", Silent())
    assert exit_code(missing) == 2
    assert "does not exist" in missing[0].message
    (tmp_path / "holiday").mkdir()
    unknown = check(tmp_path, Silent())
    assert exit_code(unknown) == 2
    assert "holiday" in unknown[0].message
    assert "Known layouts" in unknown[0].message


def test_buildings_are_compared_with_the_split(tree):
    assert found(tree, "warning", "splits", "split test: 2 of 5", "missing: muleshoe, uvalda, mcdade")
    assert found(tree, "warning", "splits", "ihlen: 4 frames", "9007")[0].count == 9003
    assert not found(tree, "warning", "splits", "hanson: 4 frames")
    write(tree / "taskonomy", ["myhouse"])
    assert found(tree, "warning", "splits", "not in the tiny split", "myhouse")


def test_leftovers_and_strays_are_named(tree):
    (tree / "taskonomy" / "tmpabc123").mkdir()
    (tree / "taskonomy" / "rgb" / "taskonomy" / "ihlen" / ".DS_Store").touch()
    assert found(tree, "warning", "layout", "temporary folder left over")[0].path.name == "tmpabc123"
    assert found(tree, "ok", "layout", "no frame's")[0].path.name == ".DS_Store"


def test_missing_files_are_counted_by_building_and_domain(tree):
    for stem in ("point_0_view_1", "point_2_view_0"):
        file_of(tree / "taskonomy", "ihlen", stem, "normal").unlink()
    finding = found(tree, "warning", "frames", "ihlen: 2 frames have no normal", "point_0_view_1")[0]
    assert finding.count == 2
    assert finding.path.name == "ihlen"
    assert found(tree, "ok", "fingerprint", "over 14 frames")


def test_a_missing_domain_names_its_task(tmp_path):
    write(tmp_path, ["ihlen"], domains=DOMAINS[:3])
    assert found(tmp_path, "warning", "frames", "segment_semantic", "task semseg cannot run")
    assert found(tmp_path, "warning", "frames", "edge_occlusion", "task edge cannot run")


@pytest.mark.parametrize(("domains", "words"), [(DOMAINS[1:], "no rgb image"), (DOMAINS[:1], "cannot run")])
def test_without_images_or_targets_nothing_can_run(tmp_path, domains, words):
    write(tmp_path, ["ihlen"], domains=domains)
    assert found(tmp_path, "error", "frames", words)
    assert exit_code(check(tmp_path, Silent())) == 2


def test_without_one_complete_frame_nothing_can_run(tmp_path):
    write(tmp_path, {"ihlen": ["point_0_view_0"]}, domains=DOMAINS[:1])
    write(tmp_path, {"ihlen": ["point_1_view_0"]}, domains=DOMAINS[1:])
    assert found(tmp_path, "error", "frames", "not one of 2 frames has all of rgb, semseg")


def test_damaged_files_are_errors_with_a_remedy(tree):
    root = tree / "taskonomy"
    cut(file_of(root, "ihlen", "point_0_view_0", "rgb"))
    rewrite(file_of(root, "hanson", "point_0_view_0", "depth_zbuffer"), np.zeros((64, 64), np.uint8))
    rewrite(file_of(root, "hanson", "point_2_view_0", "normal"), np.full((32, 32, 3), 128, np.uint8))
    for words in ("truncated", "8-bit grey, expected 16-bit grey", "32x32 pixels"):
        finding = found(tree, "error", "files", words, "Download the file again, or delete it")[0]
        assert ".png" in finding.message
        assert finding.path.suffix == ".png"
    assert exit_code(check(tree, Silent())) == 2


def test_a_frame_damaged_upstream_is_no_error(tmp_path):
    write(tmp_path, {"muleshoe": ["point_399_view_5", "point_0_view_0"]})
    file_of(tmp_path, "muleshoe", "point_399_view_5", "rgb").write_bytes(b"")
    assert found(tmp_path, "ok", "files", "unreadable upstream", "Nothing to do")
    assert exit_code(check(tmp_path, Silent())) == 0


@pytest.mark.parametrize(("factor", "warned"), [(1, False), (16, True), (1 / 16, True)])
def test_another_depth_unit_is_noticed(tmp_path, factor, warned):
    write(tmp_path, {"ihlen": ["point_0_view_0"]})
    path = file_of(tmp_path, "ihlen", "point_0_view_0", "depth_zbuffer")
    rewrite(path, np.full((64, 64), int(3 * 512 * factor), np.uint16))
    assert bool(found(tmp_path, "warning", "values", "depth unit is not 1/512 m")) == warned


def test_values_that_cannot_be_right(tmp_path):
    write(tmp_path, {"ihlen": ["point_0_view_0"]})

    def put(domain, array):
        rewrite(file_of(tmp_path, "ihlen", "point_0_view_0", domain), array)

    put("normal", np.full((64, 64, 3), 250, np.uint8))
    put("depth_zbuffer", np.full((64, 64), 65535, np.uint16))
    put("edge_occlusion", np.zeros((64, 64), np.uint16))
    put("segment_semantic", np.ones((64, 64), np.uint8))
    assert found(tmp_path, "warning", "values", "normals: 0.0%", "not 8-bit vectors")
    assert found(tmp_path, "warning", "values", "100.0% of the pixels are invalid")
    assert found(tmp_path, "warning", "values", "edges: 0 in every frame")
    assert found(tmp_path, "warning", "values", "0.0% of the pixels show an object")


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are not beside the project")
def test_genuine_samples_warn_of_their_depth_unit_and_are_usable():
    findings = check(SAMPLES, Silent())
    assert exit_code(findings) == 0
    assert found(SAMPLES, "warning", "values", "the depth unit is not 1/512 m")
    assert found(SAMPLES, "warning", "splits", "none of the known buildings")
    assert found(SAMPLES, "warning", "frames", "task semseg cannot run")
    assert found(SAMPLES, "ok", "values", "normals", "unit length")
