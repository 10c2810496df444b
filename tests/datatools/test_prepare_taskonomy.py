"""Taskonomy from archives, and its edges from depth."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.files.raw_files import Stopping, half_written, left_by_killed_process, pack, tree
from support.files.taskonomy_files import DOMAINS, cut, file_of, folder_of, rewrite, write
from support.notices import Notices
from support.paths import SAMPLES

from ttt_bench.data.listed.manifest import read_manifest, update_manifest
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.data.taskonomy.edges import edges_from_depth
from ttt_bench.datatools.check import check
from ttt_bench.datatools.prepare import sources
from ttt_bench.datatools.prepare.taskonomy import find_archives, unpack_archives
from ttt_bench.datatools.prepare.taskonomy_edges import make_edges
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent


@pytest.fixture
def archives(tmp_path: Path) -> list[Path]:
    """Write archives as the server of the data set has them."""
    root = write(tmp_path / "raw", ["ihlen", "hanson"], "B")
    made = []
    for building in ("ihlen", "hanson"):
        for domain in DOMAINS:
            folder = folder_of(root, "B", building, domain)
            made.append(pack(tmp_path / "archives" / f"{building}_{domain}.tar", folder, domain))
    return made


def test_the_text_states_the_command_and_the_terms_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    text = sources.taskonomy_text(tmp_path / "my data" / "taskonomy")
    assert text.index("data/LICENSE") < text.index("omnitools.download "), "the terms come first"
    command = text[text.index("omnitools.download ") : text.index("--agree_all")]
    assert "rgb depth_zbuffer normal edge_occlusion segment_semantic" in command
    assert "--components taskonomy --subset tiny" in command
    assert f"'{tmp_path}/my data/taskonomy'" in command
    assert "--name NAME --email EMAIL" in command
    assert "--aria2_create_server False" in command
    assert "aria2c, the program that it downloads with: required and not found on PATH" in text
    assert "`normals` matches nothing" in text
    assert "building woodbine is excluded by the downloader" in text
    monkeypatch.setattr(shutil, "which", lambda program: f"/opt/{program}")
    assert "found at /opt/aria2c" in sources.taskonomy_text(tmp_path)


def test_archives_become_a_tree_that_the_loader_reads(tmp_path: Path, archives: list[Path]) -> None:
    root = tmp_path / "root" / "taskonomy"
    assert unpack_archives(archives, root, Silent()) == 10
    assert tree(root) == tree(tmp_path / "raw")
    data = Taskonomy.open(root, "test", (32, 32), Silent(), subset="all")
    assert len(data) == 4


def test_archives_that_are_unpacked_already_are_skipped_and_layout_a_is_kept(
    tmp_path: Path, archives: list[Path]
) -> None:
    root = write(tmp_path / "root", ["ihlen"], "A")
    before = tree(root)
    notices = Notices()
    assert unpack_archives(archives, root, notices) == 5
    assert notices.heard("exists already", "ihlen_rgb.tar is skipped")
    assert {name: data for name, data in tree(root).items() if "/ihlen/" in name} == before
    assert (root / "rgb" / "taskonomy" / "hanson" / "point_0_view_0_domain_rgb.png").exists()


def test_excluded_buildings_are_not_unpacked(tmp_path: Path, archives: list[Path]) -> None:
    woodbine = archives[0].with_name("woodbine_rgb.tar")
    shutil.copy(archives[0], woodbine)
    notices = Notices()
    assert unpack_archives([woodbine], tmp_path / "root", notices) == 0
    assert notices.heard("woodbine is excluded")


def test_an_interruption_leaves_whole_domains_and_the_next_call_resumes(
    tmp_path: Path, archives: list[Path]
) -> None:
    root = tmp_path / "root"
    with pytest.raises(KeyboardInterrupt):
        unpack_archives(archives, root, Stopping("unpacking hanson_rgb", 2))
    assert not half_written(root)
    assert not (root / "rgb" / "hanson").exists()
    assert (root / "rgb" / "ihlen").exists()
    assert not [
        f
        for f in check(root, Silent())
        if "hanson" in f.message and f.level == "ok" and f.check == "frames"
    ]
    unpack_archives(archives, root, Silent())
    assert tree(root) == tree(tmp_path / "raw")


def test_one_bad_archive_stops_all_before_anything_is_written(
    tmp_path: Path, archives: list[Path]
) -> None:
    cut(archives[-1])
    with pytest.raises(
        DataError, match=r"hanson_segment_semantic.tar: archive incomplete: [\d,]+ of at least"
    ):
        unpack_archives(archives, tmp_path / "root", Silent())
    assert not (tmp_path / "root").exists()


def test_archives_of_other_content_are_refused(tmp_path: Path, archives: list[Path]) -> None:
    other = archives[0].rename(archives[0].with_name("ihlen_normal.tar"))
    with pytest.raises(DataError, match="contains no frame of normal"):
        unpack_archives([other], tmp_path / "root", Silent())
    stranger = other.rename(other.with_name("ihlen_reshading.tar"))
    with pytest.raises(DataError, match=r"not named \{building\}_\{domain\}.tar"):
        unpack_archives([stranger], tmp_path / "root", Silent())
    for name in (".._rgb.tar", "._rgb.tar", "_rgb.tar"):
        with pytest.raises(DataError, match=r"not named \{building\}_\{domain\}.tar"):
            unpack_archives([stranger.rename(stranger.with_name(name))], tmp_path, Silent())
        (stranger.with_name(name)).rename(stranger)
    with pytest.raises(DataError, match="contains no"):
        find_archives([tmp_path])
    assert find_archives([archives[1].parent])[0].name == "hanson_depth_zbuffer.tar"


def test_room_is_asked_for_before_anything_is_written(
    tmp_path: Path, archives: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(
        DataError, match=r"unpacking needs [\d.]+ kB and the disk of .* has 10.0 kB free"
    ):
        unpack_archives(archives, tmp_path / "root", Silent())
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("layout", ["A", "B", "C", "D", "E"])
def test_missing_and_damaged_edges_are_made_from_depth(tmp_path: Path, layout: str) -> None:
    root = write(tmp_path, ["ihlen"] if layout == "D" else ["ihlen", "hanson"], layout)
    missing = file_of(root, "ihlen", "point_0_view_0", "edge_occlusion", layout)
    damaged = file_of(root, "ihlen", "point_2_view_0", "edge_occlusion", layout)
    original = {path: np.asarray(Image.open(path)) for path in (missing, damaged)}
    missing.unlink()
    cut(damaged)
    if layout != "D":  # a building without the domain
        shutil.rmtree(folder_of(root, layout, "hanson", "edge_occlusion"))
    made = make_edges(root, Silent())
    assert made == (2 if layout == "D" else 6)
    for path, expected in original.items():
        found = np.asarray(Image.open(path)).astype(int)
        assert np.abs(found - expected)[1:-1, 1:-1].max() <= 1
    assert (
        "made from depth by the annotator's formula (correlation 1.0000"
        in read_manifest(root).derived["edge"]
    )
    data = Taskonomy.open(root, "test", (32, 32), Silent(), subset="all")
    assert any(
        "edge targets are derived, not the published ones" in notice for notice in data.notices
    )
    assert make_edges(root, Silent()) == 0
    if layout != "D":
        assert file_of(root, "hanson", "point_0_view_0", "edge_occlusion", layout).exists()


def test_edges_are_made_only_if_the_formula_fits_existing_files(tmp_path: Path) -> None:
    root = write(tmp_path / "a", ["ihlen"])
    for stem in ("point_0_view_0", "point_0_view_1", "point_2_view_0"):
        noise = np.random.default_rng(1).integers(0, 5000, (64, 64), dtype=np.uint16)
        rewrite(file_of(root, "ihlen", stem, "edge_occlusion"), noise)
    file_of(root, "ihlen", "point_10_view_0", "edge_occlusion").unlink()
    with pytest.raises(
        DataError,
        match=r"not the published edges of this depth \(correlation -?0\.\d+, at least 0.99",
    ):
        make_edges(root, Silent())
    other = write(tmp_path / "b", ["ihlen"], domains=DOMAINS[:3])
    with pytest.raises(DataError, match="no frame has both an edge and a depth file"):
        make_edges(other, Silent())
    update_manifest(other, {"cache": {"size": [64, 64]}})
    with pytest.raises(DataError, match="is a cache of smaller files"):
        make_edges(other, Silent())
    assert not list(other.rglob("*edge_occlusion.png"))


def test_edges_resume_after_an_interruption(tmp_path: Path) -> None:
    root = write(tmp_path / "a", ["ihlen"])
    whole = write(tmp_path / "b", ["ihlen"])
    for folder in (root, whole):
        for stem in ("point_0_view_0", "point_0_view_1", "point_2_view_0"):
            file_of(folder, "ihlen", stem, "edge_occlusion").unlink()
    make_edges(whole, Silent())
    with pytest.raises(KeyboardInterrupt):
        make_edges(root, Stopping("making edges", 1))
    assert "edge" in read_manifest(root).derived, (
        "the manifest is written before the first edge image"
    )
    assert not half_written(root)
    make_edges(root, Silent())
    assert tree(root) == tree(whole)


def test_files_of_a_killed_process_are_neither_counted_nor_kept(tmp_path: Path) -> None:
    root = write(tmp_path, ["ihlen"])
    edge = file_of(root, "ihlen", "point_0_view_0", "edge_occlusion")
    left = left_by_killed_process(edge)
    edge.unlink()
    data = Taskonomy.open(root, "test", (32, 32), Silent(), subset="all")
    assert not any("ignored" in notice for notice in data.notices)
    assert make_edges(root, Silent()) == 1
    assert not left.exists()


def test_edges_are_not_made_from_depth_in_another_unit(tmp_path: Path) -> None:
    root = write(tmp_path, ["ihlen"])
    for stem in ("point_0_view_0", "point_0_view_1", "point_2_view_0", "point_10_view_0"):
        path = file_of(root, "ihlen", stem, "depth_zbuffer")
        counts = np.asarray(Image.open(path)).astype(np.float64)
        millimetres = np.where(counts < 65_000, counts * 1000 / 512, counts)
        rewrite(path, millimetres.clip(max=65_535).astype(np.uint16))
    edge = file_of(root, "ihlen", "point_0_view_0", "edge_occlusion")
    edge.unlink()
    with pytest.raises(DataError, match="no edges are made, because"):
        make_edges(root, Silent())
    assert not edge.exists()


def test_edges_of_a_depth_file_that_is_damaged_are_not_made(tmp_path: Path) -> None:
    root = write(tmp_path, ["ihlen"])
    file_of(root, "ihlen", "point_0_view_0", "edge_occlusion").unlink()
    cut(file_of(root, "ihlen", "point_0_view_0", "depth_zbuffer"))
    notices = Notices()
    assert make_edges(root, notices) == 0
    assert notices.heard("no edges made", "truncated")


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are missing")
def test_the_formula_gives_the_genuine_edges_to_a_count() -> None:
    folder = SAMPLES / "taskonomy" / "edge_occlusion" / "taskonomy" / "hm3dsample"
    paths = sorted(folder.iterdir())
    assert len(paths) == 3
    for path in paths:
        depth = np.asarray(Image.open(str(path).replace("edge_occlusion", "depth_zbuffer")))
        edges = np.asarray(Image.open(path)).astype(int)
        assert np.abs(edges_from_depth(depth.astype(np.uint16)) - edges).max() <= 1
