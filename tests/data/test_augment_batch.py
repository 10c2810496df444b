"""Mirroring of batches: the arrays and the signs that change, and those that do not."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ttt_bench.data.base import Dataset
from ttt_bench.data.images.augment_batch import hflip
from ttt_bench.network import Batch
from ttt_bench.train.loader import loader


def _batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(3, 3, 4, 5, generator=generator), dim=1)
    normals[:, :, 0, 0] = 255
    depth = torch.rand(3, 1, 4, 5, generator=generator)
    depth[:, :, 1, 4] = 255
    semseg = torch.randint(0, 7, (3, 4, 5), generator=generator)
    semseg[:, 2, 0] = 255
    edge = (torch.rand(3, 1, 4, 5, generator=generator) > 0.5).float()
    targets = {"semseg": semseg, "depth": depth, "normals": normals, "edge": edge}
    return Batch(torch.rand(3, 3, 4, 5, generator=generator), targets)


MASK = torch.tensor([True, False, True])


def test_masked_samples_are_mirrored_and_the_others_kept() -> None:
    batch, flipped = _batch(), hflip(_batch(), MASK)
    for before, after in [(batch.images, flipped.images)] + [
        (batch.targets[name], flipped.targets[name]) for name in ("semseg", "depth", "edge")
    ]:
        assert torch.equal(after[1], before[1])
        assert torch.equal(after[0], before[0].flip(-1))
        assert torch.equal(after[2], before[2].flip(-1))
        assert after.dtype == before.dtype
    assert torch.equal(flipped.targets["normals"][1], batch.targets["normals"][1])


def test_normals_turn_their_x() -> None:
    before, after = _batch().targets["normals"], hflip(_batch(), MASK).targets["normals"]
    mirrored = before[0].flip(-1)
    assert torch.equal(after[0, 1:], mirrored[1:])
    valid = mirrored[0] != 255
    assert torch.equal(after[0, 0][valid], -mirrored[0][valid])
    assert (after[0, :, 0, -1] == 255).all()
    assert (after[0] == 255).sum() == 3


def test_twice_is_the_identity() -> None:
    batch = _batch()
    again = hflip(hflip(batch, MASK), MASK)
    assert torch.equal(again.images, batch.images)
    assert all(torch.equal(again.targets[name], value) for name, value in batch.targets.items())


def test_the_batch_given_is_not_changed() -> None:
    batch, copy = _batch(), _batch()
    hflip(batch, MASK)
    assert all(torch.equal(batch.targets[name], value) for name, value in copy.targets.items())


def test_without_turning_x_normals_are_mirrored_like_the_rest() -> None:
    before, after = (
        _batch().targets["normals"],
        hflip(_batch(), MASK, negate_x=False).targets["normals"],
    )
    assert torch.equal(after[0], before[0].flip(-1))
    assert torch.equal(after[1], before[1])


class _Whole(Dataset):
    domain, size, tasks, fingerprint = "whole", (4, 5), ("semseg", "depth", "normals", "edge"), ""

    def __len__(self) -> int:
        return 3

    def batch(self, indices: Sequence[int]) -> Batch:
        whole, rows = _batch(), list(indices)
        return Batch(
            whole.images[rows], {name: value[rows] for name, value in whole.targets.items()}
        )


def test_a_data_set_mirrors_half_of_its_training_images() -> None:
    data = _Whole()
    for seed in range(5):
        mask = torch.rand(3, generator=torch.Generator().manual_seed(seed)) < 0.5
        expected, found = hflip(data.batch([2, 0, 1]), mask), data.augmented([2, 0, 1], seed)
        assert torch.equal(found.images, expected.images)
        assert all(
            torch.equal(found.targets[name], value) for name, value in expected.targets.items()
        )


def test_workers_make_the_same_training_views() -> None:
    batches, seeds = [[0, 1], [2, 2], [1, 0]], [5, 6, 7]
    alone = list(loader(_Whole(), batches, 0, seeds))
    for number, (one, other) in enumerate(
        zip(alone, loader(_Whole(), batches, 2, seeds), strict=True)
    ):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.images, _Whole().augmented(batches[number], seeds[number]).images)
    plain = list(loader(_Whole(), batches, 0))
    assert torch.equal(plain[0].images, _batch().images[:2])


def test_missing_targets_are_not_created() -> None:
    batch = _batch()
    assert set(hflip(Batch(batch.images, {"depth": batch.targets["depth"]}), MASK).targets) == {
        "depth"
    }
