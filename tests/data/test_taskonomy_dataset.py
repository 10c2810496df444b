from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.files.scenes import rays, scene
from support.files.taskonomy_files import DOMAINS, IN_STRING_ORDER, cut, file_of, rewrite, write
from support.notices import Notices
from support.paths import SAMPLES
from torch.utils.data import DataLoader

from ttt_bench.data.label_spaces import LabelSpace
from ttt_bench.data.taskonomy import dataset as module
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.data.variants import OFFICIAL
from ttt_bench.errors import DataError
from ttt_bench.util.progress import Silent

ALL = ("semseg", "depth", "normals", "edge")


class _Images(torch.utils.data.Dataset):
    """The images of one batch, as a worker process makes them."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return 1

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.data.batch([1, 0]).images


def opened(root: Path, size: tuple[int, int] = (32, 40), **given: Any) -> Taskonomy:
    return Taskonomy.open(root, "test", size, Silent(), subset="all", **given)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(tmp_path, ["ihlen"])


def test_a_batch_keeps_the_contract(tree: Path) -> None:
    data = opened(tree)
    assert (data.domain, data.size, data.tasks, len(data)) == ("taskonomy", (32, 40), ALL, 4)
    batch = data.batch([0, 3])
    assert batch.images.shape == (2, 3, 32, 40)
    assert batch.images.dtype == torch.float32
    assert batch.images.min() >= 0
    assert 0.5 < batch.images.max() <= 1
    shapes = {
        "semseg": (2, 32, 40),
        "depth": (2, 1, 32, 40),
        "normals": (2, 3, 32, 40),
        "edge": (2, 1, 32, 40),
    }
    assert {task: tuple(target.shape) for task, target in batch.targets.items()} == shapes
    assert tuple(batch.targets) == ALL
    assert batch.targets["semseg"].dtype == torch.int64
    assert {batch.targets[task].dtype for task in ALL[1:]} == {torch.float32}


def test_samples_come_in_the_order_asked_for_whatever_the_batch(tree: Path) -> None:
    data = opened(tree)
    both, alone = data.batch([2, 1]), data.batch([1])
    assert torch.equal(both.images[1:], alone.images)
    for task in ALL:
        assert torch.equal(both.targets[task][1:], alone.targets[task])
    assert not torch.equal(both.images[:1], alone.images)


def test_the_targets_are_those_of_the_frame(tree: Path) -> None:
    # frames are written in the order 0/0, 0/1, 2/0, 10/0 with seeds 0..3; index 2 is 10/0
    view = scene(64, seed=3)
    batch = opened(tree, (64, 64)).batch([2])
    depth = batch.targets["depth"][0, 0].numpy()
    valid = depth != 255
    assert valid.mean() > 0.85
    expected = np.log1p(np.rint(512 * view.metres)) / math.log(65536)
    np.testing.assert_allclose(depth[valid], expected[valid], atol=1e-6)
    normals = batch.targets["normals"][0].numpy()
    assert ((normals * view.vectors).sum(0)[~view.hole] > 0.9998).all()
    labels = batch.targets["semseg"][0].numpy()
    assert (labels[view.labels == 7] == 1).all()
    np.testing.assert_allclose(
        batch.images[0].numpy(), view.rgb.transpose(2, 0, 1) / 255, atol=1e-6
    )


def test_one_frame_at_the_published_sizes(tmp_path: Path) -> None:
    write(tmp_path, {"mine": ["point_0_view_0"]}, size=512)
    batch = opened(tmp_path, (256, 256)).batch([0])
    view = scene(512)
    depth = batch.targets["depth"][0, 0].numpy()
    # blocks of 48 and 32 pixels, 4 more on each side, halved
    share = (depth == 255).mean()
    assert share == pytest.approx((56**2 + 40 * 40) / 512**2, abs=0.002)
    assert (
        depth[depth != 255].max() < math.log(1 + 512 * view.metres.max()) / math.log(65536) + 1e-3
    )
    assert set(torch.unique(batch.targets["semseg"]).tolist()) == {0, 1, 2, 3, 4, 5, 6, 255}


def test_tasks_are_those_whose_domains_exist(tmp_path: Path) -> None:
    write(tmp_path, ["ihlen"], domains=("rgb", "edge_occlusion", "normal"))
    data = opened(tmp_path)
    assert data.tasks == ("normals", "edge")
    assert tuple(data.batch([0]).targets) == ("normals", "edge")


def test_it_travels_to_workers(tree: Path) -> None:
    data = opened(tree)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy.batch([1]).images, data.batch([1]).images)
    assert copy.fingerprint == data.fingerprint
    copy.prepare(Silent())
    (images,) = DataLoader(_Images(data), batch_size=None, num_workers=1)
    assert torch.equal(images, data.batch([1, 0]).images)


def test_sound_files_pass_and_the_result_is_remembered(tree: Path) -> None:
    notices = Notices()
    data = opened(tree)
    data.prepare(notices)
    data.prepare(notices)
    assert notices.titles.count("checking Taskonomy's files") == 1


def test_damage_is_reported_all_at_once(tree: Path) -> None:
    cut(file_of(tree, "ihlen", "point_0_view_0", "rgb"))
    file_of(tree, "ihlen", "point_0_view_1", "normal").write_bytes(b"")
    rewrite(file_of(tree, "ihlen", "point_2_view_0", "depth_zbuffer"), np.zeros((64, 64), np.uint8))
    rewrite(
        file_of(tree, "ihlen", "point_10_view_0", "depth_zbuffer"),
        np.full((32, 32), 600, np.uint16),
    )
    rewrite(
        file_of(tree, "ihlen", "point_10_view_0", "segment_semantic"),
        np.full((64, 64), 40, np.uint8),
    )
    data = opened(tree)
    for _ in range(2):  # remembered
        with pytest.raises(DataError) as caught:
            data.prepare(Silent())
        text = str(caught.value)
        for words in (
            "5 bad files among 4 images",
            "point_0_view_0_domain_rgb.png: truncated",
            "point_0_view_1_domain_normal.png: empty file",
            "8-bit grey, expected 16-bit grey",
            "32x32 pixels, but the frame's rgb has 64x64",
            "label 40 is out of range",
            "Download them again",
            "delete it",
        ):
            assert words in text
    with pytest.raises(DataError, match="truncated"):
        data.batch([0])
    with pytest.raises(DataError, match="out of range"):
        data.batch([2])


def test_a_long_list_of_damage_is_cut(tree: Path) -> None:
    for stem in IN_STRING_ORDER:
        for domain in DOMAINS[:2]:
            file_of(tree, "ihlen", stem, domain).write_bytes(b"")
    with pytest.raises(DataError, match=r"(?s)8 bad files.*and 3 more"):
        opened(tree).prepare(Silent())


def test_a_large_selection_is_sampled_but_all_headers_are_read(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DECODE_ALL", 2)
    monkeypatch.setattr(module, "_DECODED_SAMPLE", 2)
    labels = file_of(tree, "ihlen", IN_STRING_ORDER[1], "segment_semantic")
    rewrite(
        labels, np.full((64, 64), 40, np.uint8)
    )  # frames 0 and 2 are decoded, so this stays unseen
    opened(tree).prepare(Silent())
    rewrite(labels, np.full((32, 32), 4, np.uint8))
    with pytest.raises(DataError, match=r"1 bad files.*\n.*32x32 pixels"):
        opened(tree).prepare(Silent())


def test_deleting_a_bad_file_leaves_its_frame_out(tree: Path) -> None:
    bad = file_of(tree, "ihlen", "point_10_view_0", "normal")
    cut(bad, 0.3)
    with pytest.raises(DataError):
        opened(tree).prepare(Silent())
    bad.unlink()
    data = opened(tree)
    data.prepare(Silent())
    assert [data.frames.stem(i) for i in range(len(data))] == [
        "point_0_view_0",
        "point_0_view_1",
        "point_2_view_0",
    ]


def test_a_missing_root_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--data-root.*TTT_BENCH_DATA"):
        opened(tmp_path / "taskonomy")


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the genuine samples are missing")
def test_genuine_samples_keep_the_contract() -> None:
    notices = Notices()
    data = Taskonomy.open(SAMPLES / "taskonomy", "test", (256, 256), notices)
    data.prepare(Silent())
    assert any("none of the known buildings" in n and "all its 3 frames" in n for n in data.notices)
    assert any("right / down / forward" in n for n in data.notices)
    assert (len(data), data.tasks) == (3, ("depth", "normals", "edge"))
    targets = data.batch([0, 1, 2]).targets
    depth, normals, edge = targets["depth"], targets["normals"], targets["edge"]
    valid = depth != 255
    assert 0.98 < valid.float().mean() < 1
    assert 0.7 < depth[valid].min() < depth[valid].max() < 1.0 - 1e-4
    seen = (normals != 255).all(dim=1)
    lengths = normals.norm(dim=1)[seen]
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    for view, field_of_view in enumerate((114.25, 69.75, 76.5)):  # as fitted to these views
        towards = (normals[view] * torch.from_numpy(rays(256, field_of_view))).sum(dim=0)[
            seen[view]
        ]
        assert (towards < 0.02).float().mean() > 0.99
    # out of range is not the same as no geometry: the second view has normals throughout
    assert seen[1].all()
    assert not valid[1].all()
    assert -1 <= edge.min() < -0.5
    assert 3 < edge.max() < 40


def test_the_fingerprint_changes_with_the_size(tree: Path) -> None:
    small, large = opened(tree, (32, 32)), opened(tree, (32, 48))
    assert small.fingerprint != large.fingerprint


def test_the_fingerprint_follows_its_own_ids_of_a_label_space(tree: Path) -> None:
    ids = {"taskonomy": ((3, 4), (6,)), "elsewhere": ((1,), (2,))}
    classes = ("seat", "bed")
    mark = opened(tree, space=LabelSpace(name="mine", classes=classes, native=ids)).fingerprint
    assert (
        opened(
            tree,
            space=LabelSpace(name="mine", classes=classes, native={"taskonomy": ids["taskonomy"]}),
        ).fingerprint
        == mark
    )
    assert (
        opened(
            tree, space=LabelSpace(name="mine", classes=classes, native={"taskonomy": ((3,), (6,))})
        ).fingerprint
        != mark
    )
    assert opened(tree).fingerprint != mark


def test_depth_of_zero_is_invalid_with_a_notice(tree: Path) -> None:
    def notices(**options: Any) -> list[str]:
        return [notice for notice in opened(tree, **options).notices if "depth is 0" in notice]

    path = file_of(tree, "ihlen", "point_0_view_0", "depth_zbuffer")
    with Image.open(path) as image:
        counts = np.asarray(image).astype(np.uint16)
    assert notices() == []
    counts[:20, :20] = 0
    Image.fromarray(counts).save(path)
    assert len(notices()) == 1
    assert notices(variant=OFFICIAL) == []
