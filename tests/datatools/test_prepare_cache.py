"""The cache of smaller Taskonomy files gives the targets of the originals, up to rounding."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.files.raw_files import Stopping, half_written, tree
from support.files.taskonomy_files import STEMS, cut, file_of, rewrite, write
from support.notices import Notices
from support.paths import SAMPLES

from ttt_bench.data.listed.manifest import update_manifest
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.data.taskonomy.index import find_folders, list_frames
from ttt_bench.data.variants import OFFICIAL
from ttt_bench.datatools.check import check, exit_code
from ttt_bench.datatools.prepare.taskonomy_cache import CacheOptions, resized, write_cache
from ttt_bench.errors import BenchError, DataError
from ttt_bench.network import Batch
from ttt_bench.util.progress import Silent

SMALL = CacheOptions(size=32)
# half a count at 1 m of depth, half a count of an edge, half a step of a normal's three components
DEPTH, EDGE, DEGREES = (
    0.5 / 513 / np.log(65536),
    2 * 0.5 / 409.6,
    np.degrees(np.sqrt(3) * 0.5 / 127.5),
)


@pytest.fixture
def tree_128(tmp_path: Path) -> Path:
    return write(tmp_path / "raw" / "taskonomy", ["ihlen", "corozal"], "A", size=128)


def opened(root: Path, size: tuple[int, int] = (32, 32), **options: Any) -> Taskonomy:
    return Taskonomy.open(root, "test", size, Silent(), subset="all", **options)


def assert_equal_up_to_rounding(found: Batch, expected: Batch, exact_images: bool = True) -> None:
    if exact_images:
        assert torch.equal(found.images, expected.images)
    for task, target in expected.targets.items():
        other = found.targets[task]
        assert torch.equal(other == 255, target == 255), task
        valid = (target != 255).expand_as(target)
        apart = (other - target).abs()[valid].max()
        if task == "semseg":
            assert torch.equal(other, target)
        elif task == "normals":
            both = (target != 255).all(1)
            cosine = (other * target).sum(1)[both].clamp(-1, 1)
            assert torch.rad2deg(torch.arccos(cosine)).max() < DEGREES
        else:
            # float32 arithmetic may exceed the bound slightly
            assert apart < {"depth": DEPTH, "edge": EDGE}[task] * 1.02, task


def test_targets_are_those_of_the_original_files_up_to_rounding(
    tmp_path: Path, tree_128: Path
) -> None:
    assert write_cache(tree_128, tmp_path / "small" / "taskonomy", SMALL, Silent()) == 8
    small = opened(tmp_path / "small" / "taskonomy")
    whole = opened(tree_128)
    assert len(small) == len(whole) == 4
    batch = whole.batch(range(4))
    assert (batch.targets["depth"] == 255).any()
    assert (batch.targets["normals"] == 255).any()
    assert_equal_up_to_rounding(small.batch(range(4)), batch)
    assert any("read from a cache of 32x32 files" in notice for notice in small.notices)
    assert small.fingerprint != whole.fingerprint
    small.prepare(Silent())


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are missing")
def test_genuine_frames_come_out_of_the_cache_as_from_their_files(tmp_path: Path) -> None:
    write_cache(SAMPLES / "taskonomy", tmp_path / "taskonomy", CacheOptions(size=256), Silent())
    small, whole = (
        opened(tmp_path / "taskonomy", (256, 256)),
        opened(SAMPLES / "taskonomy", (256, 256)),
    )
    assert_equal_up_to_rounding(small.batch(range(3)), whole.batch(range(3)))


def test_the_cache_describes_itself(tmp_path: Path, tree_128: Path) -> None:
    update_manifest(tree_128, {"normal_axes": "left / up / backward", "derived": {"edge": "made"}})
    write_cache(tree_128, tmp_path / "small", SMALL, Silent())
    written = json.loads((tmp_path / "small" / "ttt-bench.json").read_text())
    assert written["cache"]["size"] == [32, 32]
    assert written["cache"]["rgb"] == "PNG"
    assert written["cache"]["rules"]["semseg"] == "nearest"
    assert "masked at full size" in written["cache"]["rules"]["depth"]
    assert written["normal_axes"] == "left / up / backward"
    assert written["left_out"] == []
    assert_equal_up_to_rounding(opened(tmp_path / "small").batch([0]), opened(tree_128).batch([0]))
    findings = check(tmp_path / "small", Silent())
    assert exit_code(findings) == 0
    messages = "\n".join(finding.message for finding in findings)
    assert "a cache of 32x32 files" in messages
    assert "the formula on depth needs the originals" in messages


def test_images_as_jpeg_are_marked_and_nearly_the_same(tmp_path: Path, tree_128: Path) -> None:
    for building in ("ihlen", "corozal"):
        for stem in ("point_0_view_0", "point_0_view_1", "point_2_view_0", "point_10_view_0"):
            # smooth pictures, because JPEG does not suit the noise of the scenes
            smooth = np.asarray(
                Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).resize((128, 128))
            )
            rewrite(
                file_of(tree_128, building, stem, "rgb"),
                np.stack([smooth, smooth // 2, smooth], axis=-1),
            )
    write_cache(tree_128, tmp_path / "small", CacheOptions(size=32, jpeg=True), Silent())
    assert (
        json.loads((tmp_path / "small" / "ttt-bench.json").read_text())["cache"]["rgb"] == "JPEG 95"
    )
    small, whole = opened(tmp_path / "small").batch(range(4)), opened(tree_128).batch(range(4))
    assert not torch.equal(small.images, whole.images)
    assert (small.images - whole.images).abs().max() < 0.04
    assert_equal_up_to_rounding(small, whole, exact_images=False)
    assert len(list((tmp_path / "small").rglob("*_domain_rgb.jpg"))) == 8


def test_it_serves_other_sizes_with_a_notice_and_other_variants_not_at_all(
    tmp_path: Path, tree_128: Path
) -> None:
    write_cache(tree_128, tmp_path / "small", SMALL, Silent())
    data = opened(tmp_path / "small", (16, 24))
    assert any("resized again to 16x24" in notice for notice in data.notices)
    assert data.batch([0]).images.shape == (1, 3, 16, 24)
    with pytest.raises(
        DataError, match=r"the variant official needs the original files, so --data-root"
    ):
        opened(tmp_path / "small", variant=OFFICIAL)


def test_an_interruption_leaves_nothing_visible_and_the_next_call_resumes(
    tmp_path: Path, tree_128: Path
) -> None:
    write_cache(tree_128, tmp_path / "a" / "taskonomy", SMALL, Silent())
    with pytest.raises(KeyboardInterrupt):
        write_cache(tree_128, tmp_path / "b" / "taskonomy", SMALL, Stopping("resizing", 3))
    assert not (tmp_path / "b" / "taskonomy").exists()
    assert not half_written(tmp_path)
    draft = tmp_path / "b" / ".taskonomy.partial"
    begun = {path.relative_to(draft): path.stat().st_mtime_ns for path in draft.rglob("*.png")}
    assert len(begun) >= 15
    write_cache(tree_128, tmp_path / "b" / "taskonomy", SMALL, Silent())
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert {
        path: (tmp_path / "b" / "taskonomy" / path).stat().st_mtime_ns for path in begun
    } == begun
    with pytest.raises(DataError, match="exists already"):
        write_cache(tree_128, tmp_path / "b" / "taskonomy", SMALL, Silent())


def test_other_options_do_not_continue_a_draft(tmp_path: Path, tree_128: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_cache(tree_128, tmp_path / "b", SMALL, Stopping("resizing", 3))
    with pytest.raises(DataError, match="with other options"):
        write_cache(tree_128, tmp_path / "b", CacheOptions(size=32, jpeg=True), Silent())


def test_frames_that_cannot_be_read_are_left_out_and_listed(tmp_path: Path, tree_128: Path) -> None:
    cut(file_of(tree_128, "ihlen", "point_2_view_0", "depth_zbuffer"))
    notices = Notices()
    assert write_cache(tree_128, tmp_path / "small", SMALL, notices) == 7
    assert notices.heard("left out of the cache", "point_2_view_0", "truncated")
    assert json.loads((tmp_path / "small" / "ttt-bench.json").read_text())["left_out"] == [
        "ihlen/point_2_view_0"
    ]
    assert len(opened(tmp_path / "small")) == 3
    for path in tree_128.rglob("*rgb.png"):
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="not one of 8 frames can be read"):
        write_cache(tree_128, tmp_path / "none", SMALL, Silent())


def test_only_what_a_split_needs(tmp_path: Path, tree_128: Path) -> None:
    assert (
        write_cache(tree_128, tmp_path / "test", CacheOptions(size=32, split="test"), Silent()) == 4
    )
    assert not (tmp_path / "test" / "rgb" / "corozal").exists()
    with pytest.raises(BenchError, match="unknown split"):
        write_cache(tree_128, tmp_path / "x", CacheOptions(size=32, split="tset"), Silent())
    shutil.rmtree(tree_128 / "rgb" / "taskonomy" / "ihlen")
    for domain in ("depth_zbuffer", "normal", "edge_occlusion", "segment_semantic"):
        shutil.rmtree(tree_128 / domain / "taskonomy" / "ihlen")
    with pytest.raises(DataError, match="contains no building of split test"):
        write_cache(tree_128, tmp_path / "x", CacheOptions(size=32, split="test"), Silent())


def test_invalid_caches_are_refused(tmp_path: Path, tree_128: Path) -> None:
    with pytest.raises(
        DataError, match="the cache would have 256x256 pixels, more than the files' 128x128"
    ):
        write_cache(tree_128, tmp_path / "x", CacheOptions(size=256), Silent())
    write_cache(tree_128, tmp_path / "small", SMALL, Silent())
    with pytest.raises(DataError, match="is a cache already"):
        write_cache(tmp_path / "small", tmp_path / "smaller", CacheOptions(size=16), Silent())


def test_disk_space_is_estimated_and_checked(
    tmp_path: Path, tree_128: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=150_000))
    with pytest.raises(
        DataError,
        match=r"a cache of 8 frames needs 1\d\d.\d kB and the disk of .* has 150.0 kB free",
    ):
        write_cache(tree_128, tmp_path / "small", SMALL, Silent())
    assert not list(tmp_path.rglob("*_32*"))


def test_a_full_disk_is_reported_and_the_next_call_resumes(
    tmp_path: Path, tree_128: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes
    written: list[Path] = []

    def full(path: Path, data: bytes) -> int:
        if ".tmp-" in path.name and len(written) >= 7:
            real(path, data[:50])
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BenchError, match=r"No space left on device.*free some space"):
        write_cache(tree_128, tmp_path / "b" / "taskonomy", SMALL, Silent())
    assert not half_written(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", real)
    write_cache(tree_128, tmp_path / "b" / "taskonomy", SMALL, Silent())
    write_cache(tree_128, tmp_path / "a" / "taskonomy", SMALL, Silent())
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_palette_labels_are_kept_as_ids(tmp_path: Path) -> None:
    ids = np.array([[3, 7], [17, 0]], np.uint8).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(resized("semseg", ids, (2, 2)), [[3, 7], [17, 0]])


def test_a_damaged_cache_entry_is_reported(tmp_path: Path, tree_128: Path) -> None:
    update_manifest(tree_128, {"cache": {"size": "small"}})
    with pytest.raises(DataError, match=r"ttt-bench.json is damaged \(cache is"):
        opened(tree_128)


def test_a_building_in_two_layouts_is_written_with_all_its_frames(tmp_path: Path) -> None:
    write(tmp_path / "a", {"ihlen": STEMS[:2]}, "A")
    write(tmp_path / "a", {"ihlen": STEMS[2:]}, "E")
    assert write_cache(tmp_path / "a", tmp_path / "b", SMALL, Silent()) == len(STEMS)
    folders = find_folders(tmp_path / "b")
    frames = list_frames(folders, folders.buildings, Silent())
    assert {frames.stem(index) for index in range(len(frames))} == set(STEMS)
