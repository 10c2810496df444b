"""Shifts change the picture alone: padding keeps its colour and no statistic counts it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.files import nyud_files

from ttt_bench.data.images.sample import MEAN_COLOUR
from ttt_bench.data.nyud.dataset import NYUD
from ttt_bench.data.shifts.kinds import KINDS, parse_shift, parse_shifts
from ttt_bench.data.shifts.streams import parse_stream
from ttt_bench.data.shifts.views import (
    RelabelledDataset,
    ShiftedDataset,
    StreamedDataset,
    shift_image,
)
from ttt_bench.util.progress import Silent

SIZE = (64, 100)
ROWS, COLUMNS = slice(8, 56), slice(18, 82)  # of 48x64 in 64x100


@pytest.fixture
def photographs(tmp_path: Path) -> NYUD:
    return NYUD.open(nyud_files.write(tmp_path / "nyud"), "test", SIZE, Silent())


def picture(dataset: NYUD, index: int) -> torch.Tensor:
    """Return the file's picture, (3, H, W), read without the loader."""
    with Image.open(dataset.listing.path(index, "image")) as image:
        return torch.from_numpy(np.asarray(image).transpose(2, 0, 1) / np.float32(255))


def padding(images: torch.Tensor) -> torch.Tensor:
    """Return the values of all pixels outside the pictures, (N, 3)."""
    outside = torch.ones(SIZE, dtype=torch.bool)
    outside[ROWS, COLUMNS] = False
    return images.permute(0, 2, 3, 1)[:, outside].reshape(-1, 3)


@pytest.mark.parametrize("name", KINDS)
def test_every_shift_acts_on_the_picture_and_leaves_the_padding(
    photographs: NYUD, name: str
) -> None:
    shifts = (parse_shift(f"{name}@s3"),)
    images = ShiftedDataset(photographs, shifts, seed=5).batch([0, 1]).images
    for index in range(2):
        expected = shift_image(picture(photographs, index), shifts, 5, index)
        torch.testing.assert_close(images[index][:, ROWS, COLUMNS], expected, rtol=0, atol=1e-6)
    colour = torch.tensor(MEAN_COLOUR)
    assert torch.equal(padding(images), colour.expand_as(padding(images)))


def test_relative_noise_is_relative_to_the_contrast_of_the_picture_alone(
    photographs: NYUD,
) -> None:
    shifted = ShiftedDataset(photographs, parse_shifts("gaussian_noise@0.1"), seed=0)
    before = photographs.batch([1]).images[0][:, ROWS, COLUMNS]
    after = shifted.batch([1]).images[0][:, ROWS, COLUMNS]
    inside = (after > 0) & (after < 1)
    noise = (after - before)[inside].std().item()
    assert noise == pytest.approx(0.1 * picture(photographs, 1).std().item(), rel=0.03)


def test_a_stream_over_shifted_images_leaves_the_padding_too(photographs: NYUD) -> None:
    relabelled = RelabelledDataset(photographs, np.arange(256, dtype=np.uint8), "same")
    shifted = ShiftedDataset(relabelled, parse_shifts("fog@s3"), seed=1)
    stream = StreamedDataset(shifted, parse_stream("continual:jpeg@s5,contrast@s3"), seed=2)
    images = stream.batch([3, 0]).images
    assert torch.equal(padding(images), torch.tensor(MEAN_COLOUR).expand_as(padding(images)))
    once = shift_image(picture(photographs, 1), parse_shifts("fog@s3"), 1, 1)
    twice = shift_image(once, parse_shifts("contrast@s3"), 2, 1, done=1)
    torch.testing.assert_close(images[0][:, ROWS, COLUMNS], twice, rtol=0, atol=1e-6)
    plain = photographs.batch([1]).targets
    for task, target in stream.batch([3]).targets.items():
        assert torch.equal(target, plain[task])


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (3, 64)])
def test_shifts_of_tiny_pictures_are_finite(size: Sequence[int]) -> None:
    image = torch.rand((3, *size), generator=torch.Generator().manual_seed(0))
    for name in KINDS:
        for severity in ("s1", "s5"):
            shifted = shift_image(image, (parse_shift(f"{name}@{severity}"),), 0, 0)
            assert shifted.shape == image.shape
            assert shifted.isfinite().all(), name
