"""The published defects of Taskonomy's handling, each compared with its description."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.files.scenes import scene
from support.files.taskonomy_files import file_of, rewrite, write

from ttt_bench.data.images.augment_batch import hflip
from ttt_bench.data.listed.manifest import update_manifest
from ttt_bench.data.taskonomy.dataset import Taskonomy
from ttt_bench.data.variants import CORRECTED, OFFICIAL, DataVariant, find_variant
from ttt_bench.errors import BenchError
from ttt_bench.util.progress import Silent

SIZE = (64, 64)
VIEW = scene(64)


def opened(root: Path, variant: DataVariant, size: tuple[int, int] = SIZE) -> Taskonomy:
    return Taskonomy.open(root, "test", size, Silent(), subset="all", variant=variant)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(tmp_path, {"ihlen": ["point_0_view_0"]})


def test_names_and_options() -> None:
    assert find_variant("corrected") is CORRECTED
    assert find_variant("official") is OFFICIAL
    differing = {key for key, value in asdict(OFFICIAL).items() if value != asdict(CORRECTED)[key]}
    assert differing == set(asdict(OFFICIAL)), "every option is there because the two differ in it"
    with pytest.raises(
        BenchError, match=r"unknown data variant 'oficial'; did you mean official\?"
    ):
        find_variant("oficial")


def test_every_option_changes_the_fingerprint(tree: Path) -> None:
    marks = {opened(tree, CORRECTED).fingerprint}
    marks |= {
        opened(tree, replace(CORRECTED, **{key: value})).fingerprint
        for key, value in asdict(OFFICIAL).items()
    }
    assert len(marks) == 1 + len(asdict(OFFICIAL))


def test_bilinear_labels_put_a_plant_between_chair_and_table(tree: Path) -> None:
    labels = np.full((64, 64), 3, np.uint8)
    labels[:, 31:] = 7
    path = file_of(tree, "ihlen", "point_0_view_0", "segment_semantic")
    rewrite(path, labels)
    space_index = {"chair": 6, "table": 1}
    clean = opened(tree, CORRECTED, (32, 32)).batch([0]).targets["semseg"]
    mixed = opened(tree, OFFICIAL, (32, 32)).batch([0]).targets["semseg"]
    assert set(clean.unique().tolist()) == set(space_index.values())
    border = mixed[0, :, 14:18]
    # 4 is a couch, 5 a plant (no class here), 6 a bed; of 3 and 7 the filter makes some of them
    assert set(border.unique().tolist()) - set(space_index.values())
    assert torch.equal(mixed[..., :14], clean[..., :14])
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.ravel().tolist())
    palette.save(path)
    assert torch.equal(opened(tree, OFFICIAL, (32, 32)).batch([0]).targets["semseg"], clean)


def test_invalid_depth_is_one_and_scored(tree: Path) -> None:
    depth = opened(tree, OFFICIAL).batch([0]).targets["depth"][0, 0].numpy()
    assert (depth != 255).all()
    np.testing.assert_allclose(depth[VIEW.hole | VIEW.beyond], 1.0, rtol=1e-6)
    counts = VIEW.depth[~(VIEW.hole | VIEW.beyond)]
    np.testing.assert_allclose(
        depth[~(VIEW.hole | VIEW.beyond)],
        np.log1p(counts.astype(float)) / math.log(65536),
        rtol=1e-6,
    )
    smaller = opened(tree, OFFICIAL, (20, 20)).batch([0]).targets["depth"]
    assert (smaller != 255).all()


def test_missing_normals_are_scored(tree: Path) -> None:
    normals = opened(tree, OFFICIAL).batch([0]).targets["normals"][0].numpy()
    np.testing.assert_allclose(normals[:, VIEW.hole], 0.5 / 127.5, rtol=1e-4)
    assert (normals[:, ~VIEW.hole] * VIEW.vectors[:, ~VIEW.hole]).sum(0).min() > 0.99


def test_measured_axes_are_used(tree: Path) -> None:
    before = opened(tree, CORRECTED).batch([0]).targets["normals"]
    update_manifest(tree, {"normal_axes": "left / up / backward"})
    data = opened(tree, CORRECTED)
    assert not any("measured" in notice for notice in data.notices)
    after = data.batch([0]).targets["normals"]
    assert torch.equal(after, torch.where(before == 255, before, -before))
    scored = opened(tree, OFFICIAL).batch([0]).targets["normals"]
    assert (scored[0] * -torch.from_numpy(VIEW.vectors)).sum(0)[
        ~torch.from_numpy(VIEW.hole)
    ].min() > 0.99


def test_training_views_mirror_without_turning_x_and_move_by_a_pixel(tree: Path) -> None:
    data = opened(tree, OFFICIAL)
    plain = data.batch([0])
    seen = set()
    for seed in range(40):
        view = data.augmented([0], seed)
        offsets = [
            (down, right, flipped)
            for down in (0, 1)
            for right in (0, 1)
            for flipped in (False, True)
            if _moved(view, plain, down, right, flipped)
        ]
        assert len(offsets) == 1
        seen.update(offsets)
    assert len(seen) == 8


def _moved(view: Any, plain: Any, down: Any, right: Any, flipped: Any) -> bool:
    """Return whether a view is the plain batch moved by pixels, then mirrored."""
    zeros = {"semseg": 255, "depth": 0, "normals": -1, "edge": -1}
    pairs = [
        (view.images, plain.images, 0),
        *((view.targets[t], plain.targets[t], zeros[t]) for t in zeros),
    ]
    for got, before, zero in pairs:
        padded = torch.nn.functional.pad(before.float(), (0, 1, 0, 1), value=zero)
        expected = padded[..., down : down + 64, right : right + 64]
        if not torch.equal(got.float(), expected.flip(-1) if flipped else expected):
            return False
    return True


def test_corrected_training_views_are_flips_alone(tree: Path) -> None:
    data = opened(tree, CORRECTED)
    plain = data.batch([0, 0])
    for seed in range(6):
        mask = torch.rand(2, generator=torch.Generator().manual_seed(seed)) < 0.5
        expected, view = hflip(plain, mask), data.augmented([0, 0], seed)
        assert torch.equal(view.images, expected.images)
        assert all(
            torch.equal(view.targets[task], value) for task, value in expected.targets.items()
        )
