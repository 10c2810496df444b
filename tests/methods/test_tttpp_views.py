"""Random views of TTT++: each operation compared with torchvision's, and its frequency."""

from __future__ import annotations

import pytest
import torch
from support.fakes import random_images
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from ttt_bench.methods import _tttpp_views

LAST = 1 - 2**-24  # the largest number that a draw can give


def one_image(height: int = 20, width: int = 26) -> Tensor:
    return random_images(1, height, width)


@pytest.mark.parametrize("turn", [-0.5, -0.1, -0.03, 0.0, 0.07, 0.1, 0.5])
def test_hue_equals_torchvisions(turn: float) -> None:
    image = one_image()
    image[..., :4] = image[:, :1, :, :4]  # some grey, which has no hue
    image[..., 4:8, :] = image[..., 4:8, :].round()  # primary and mixed colours
    wanted = tv.adjust_hue(image, turn)  # in single precision for every dtype of the image
    torch.testing.assert_close(
        _tttpp_views.shift_hue(image, torch.tensor([turn])), wanted, rtol=0, atol=3e-6
    )


@pytest.mark.parametrize("factor", [0.6, 0.9, 1.0, 1.4])
def test_brightness_contrast_saturation_and_grey_as_torchvisions(factor: float) -> None:
    image = one_image()
    one, share, still = torch.ones(1), torch.tensor([factor]).double(), torch.zeros(1)

    def jittered(*factors: Tensor) -> Tensor:
        return _tttpp_views.jitter(image, torch.stack(factors, dim=1), still)

    torch.testing.assert_close(_tttpp_views.greyscale(image), tv.rgb_to_grayscale(image))
    torch.testing.assert_close(jittered(share, one, one), tv.adjust_brightness(image, factor))
    torch.testing.assert_close(jittered(one, share, one), tv.adjust_contrast(image, factor))
    torch.testing.assert_close(jittered(one, one, share), tv.adjust_saturation(image, factor))


def test_every_image_is_jittered_by_its_own_factors() -> None:
    images = random_images(3, 8, 9)
    factors, turns = 0.6 + 0.8 * torch.rand(3, 3).double(), torch.tensor([-0.1, 0.0, 0.1]).double()
    together = _tttpp_views.jitter(images, factors, turns)
    for n in range(3):
        alone = _tttpp_views.jitter(images[n : n + 1], factors[n : n + 1], turns[n : n + 1])
        torch.testing.assert_close(together[n : n + 1], alone)


def test_a_part_is_enlarged_as_torchvisions_resized_crop() -> None:
    images = random_images(2, 24, 40)
    # rows 6 to 17 and columns 20 to 39; rows 0 to 11 and columns 10 to 29, mirrored
    left, top = torch.tensor([0.5, 0.25]).double(), torch.tensor([0.25, 0.0]).double()
    half = torch.tensor([0.5, 0.5]).double()
    enlarged = _tttpp_views.enlarge(
        images, left=left, top=top, width=half, height=half, mirror=torch.tensor([False, True])
    )
    for n, (first_row, first_column) in enumerate([(6, 20), (0, 10)]):
        wanted = tv.resized_crop(
            images[n], first_row, first_column, 12, 20, [24, 40], antialias=False
        )
        wanted = wanted.flip(-1) if n else wanted
        # beyond its border the part continues with the pixels around it
        torch.testing.assert_close(enlarged[n, :, 1:-1, 1:-1], wanted[:, 1:-1, 1:-1])


def test_the_whole_image_is_itself() -> None:
    images = random_images(2, 15, 22)
    none, whole = torch.zeros(2).double(), torch.ones(2).double()
    enlarged = _tttpp_views.enlarge(
        images, left=none, top=none, width=whole, height=whole, mirror=torch.tensor([False, True])
    )
    torch.testing.assert_close(enlarged, torch.stack([images[0], images[1].flip(-1)]))


def test_parts_have_the_area_asked_for_fit_and_keep_to_the_aspects() -> None:
    areas, aspects = torch.meshgrid(
        torch.linspace(0.2, 1, 41), torch.linspace(0, 1, 21), indexing="ij"
    )
    width, height = _tttpp_views.part_sides(areas.double(), aspects.double())
    torch.testing.assert_close(width * height, areas.double())
    assert max(width.max(), height.max()) <= 1 + 1e-12
    ratio = width / height
    torch.testing.assert_close(ratio[0, [0, 10, 20]], torch.tensor([3 / 4, 1, 4 / 3]).double())
    assert ratio.min() >= 3 / 4 - 1e-6
    assert ratio.max() <= 4 / 3 + 1e-6


def test_each_change_of_a_view_happens_with_its_probability() -> None:
    images = one_image(16, 16).expand(1000, -1, -1, -1)
    draws = torch.rand(1000, 11, generator=torch.Generator().manual_seed(0))
    draws[:, 0], draws[:, 4] = LAST, LAST  # the whole image, not mirrored
    views = _tttpp_views.random_view(images, draws)
    assert (views >= 0).all()
    assert (views <= 1).all()
    grey = (views.amax(dim=1) - views.amin(dim=1)).flatten(1).amax(dim=1) < 1e-9
    luma = tv.rgb_to_grayscale(images[:1]).flatten()
    as_it_was = torch.where(
        grey,
        (views[:, 0].flatten(1) - luma).abs().amax(dim=1) < 1e-4,
        (views - images).flatten(1).abs().amax(dim=1) < 1e-4,
    )
    assert grey.double().mean().item() == pytest.approx(0.2, abs=0.04)
    assert as_it_was.double().mean().item() == pytest.approx(0.2, abs=0.04)
