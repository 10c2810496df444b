"""Effects of shifts on images, compared with definitions by hand or with other libraries."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from ttt_bench.data.rooms import LOOKS, render
from ttt_bench.data.shifts.corruptions import (
    CORRUPTIONS,
    blur,
    corrupt,
    disc_kernel,
    gaussian_kernel,
    plasma,
    trail_kernel,
)
from ttt_bench.data.shifts.kinds import KINDS, parse_shift


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _apply(image: torch.Tensor, text: str, seed: int = 0) -> torch.Tensor:
    return corrupt(image, parse_shift(text), _generator(seed))


@pytest.fixture(scope="module")
def room() -> torch.Tensor:
    return render(LOOKS["rooms"], 3, [4], (96, 120)).images[0]


@pytest.fixture(scope="module")
def soft() -> torch.Tensor:
    """Return a large smooth image well inside [0, 1], so that few values are clipped."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 400), torch.linspace(0, 5, 500), indexing="ij")
    return torch.stack(
        [0.5 + 0.1 * torch.sin(x), 0.45 + 0.1 * torch.cos(x + y), 0.55 + 0.1 * torch.sin(y)]
    )


def test_every_name_has_its_function() -> None:
    assert list(CORRUPTIONS) == list(KINDS)


@pytest.mark.parametrize("name", sorted(KINDS))
@pytest.mark.parametrize("level", [1, 5])
def test_images_stay_images(name: str, level: int, room: torch.Tensor) -> None:
    kept = room.clone()
    for image in (
        room,
        room[:, :33, :47].contiguous(),
        torch.zeros(3, 20, 16),
        torch.ones(3, 16, 20),
    ):
        out = _apply(image, f"{name}@s{level}")
        assert out.shape == image.shape
        assert out.dtype == torch.float32
        assert out.isfinite().all()
        assert out.min() >= 0
        assert out.max() <= 1
    assert torch.equal(room, kept)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_severities_go_further_and_further(name: str, room: torch.Tensor) -> None:
    pale = 0.5 * room + 0.2  # not white, so that saturation and brightness can change
    far = [
        float((_apply(pale, f"{name}@s{level}") - pale).square().mean()) for level in range(1, 6)
    ]
    if name == "saturate":  # two severities towards grey, three away from it
        assert far[0] < far[1]
        assert far[2] < far[3] < far[4]
    elif name == "pixelate":  # squares that do not divide the image cut different edges
        assert all(later > 0.97 * earlier for earlier, later in pairwise(far))
    else:
        assert far == sorted(far)
    assert far[0] > 0
    assert far[4] > 1.5 * far[0]


# Noise


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.1, 0.2, 0.3, 0.4])
def test_gaussian_noise_is_relative_to_the_image(alpha: float, soft: torch.Tensor) -> None:
    for image in (soft, 0.5 * soft + 0.2):
        own = float(np.std(image.numpy()))
        noise = (_apply(image, f"gaussian_noise@{alpha}") - image).numpy()
        assert np.std(noise) == pytest.approx(alpha * own, rel=0.01)
        assert abs(np.mean(noise)) < 0.01 * alpha * own * 3


def test_noise_of_strength_0_does_not_change_the_image(room: torch.Tensor) -> None:
    assert torch.equal(_apply(room, "gaussian_noise@0"), room)
    assert torch.equal(_apply(room, "impulse_noise@0"), room)


def test_absolute_noise_has_its_deviation_in_every_image(soft: torch.Tensor) -> None:
    for image in (soft, torch.full_like(soft, 0.5)):
        assert float((_apply(image, "absolute_noise@s1") - image).std()) == pytest.approx(
            0.08, rel=0.01
        )


def test_speckle_noise_is_a_share_of_each_value() -> None:
    for value in (0.2, 0.4):
        image = torch.full((3, 300, 300), value)
        assert float((_apply(image, "speckle_noise@s1") - image).std()) == pytest.approx(
            0.15 * value, rel=0.01
        )


def test_shot_noise_counts_photons() -> None:
    image = torch.full((3, 300, 300), 0.4)
    counts = _apply(image, "shot_noise@25") * 25
    assert torch.allclose(counts, counts.round(), atol=1e-4)
    assert float(counts.mean()) == pytest.approx(10, rel=0.01)
    assert float(counts.var()) == pytest.approx(10, rel=0.02)  # Poisson: the variance is the mean


def test_impulse_noise_is_salt_and_pepper() -> None:
    image = torch.full((3, 300, 300), 0.4)
    out = _apply(image, "impulse_noise@s5")
    assert float((out == 0).float().mean()) == pytest.approx(0.135, abs=0.003)
    assert float((out == 1).float().mean()) == pytest.approx(0.135, abs=0.003)
    assert float((out == 0.4).float().mean()) == pytest.approx(0.73, abs=0.004)


# Blur

KERNELS: dict[str, Callable[[], torch.Tensor]] = {
    "gaussian": lambda: gaussian_kernel(2.3),
    "small gaussian": lambda: gaussian_kernel(0.07),
    "disc": lambda: disc_kernel(4.6),
    "small disc": lambda: disc_kernel(0.3),
    "trail": lambda: trail_kernel(15, 8, 30.0),
    "steep trail": lambda: trail_kernel(10, 4, -100.0),
    "small trail": lambda: trail_kernel(0.7, 0.2, 10.0),
}


def _centre_of_mass(picture: torch.Tensor) -> tuple[float, float]:
    rows, columns = (torch.arange(extent, dtype=torch.float64) for extent in picture.shape)
    weight = picture.double() / picture.double().sum()
    return float((weight.sum(1) * rows).sum()), float((weight.sum(0) * columns).sum())


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_sum_to_one_and_move_nothing(name: str) -> None:
    kernel = KERNELS[name]()
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6)
    assert kernel.min() >= 0
    assert kernel.shape[0] % 2 == kernel.shape[1] % 2 == 1
    middle = kernel.shape[0] // 2, kernel.shape[1] // 2
    assert _centre_of_mass(kernel) == pytest.approx(middle, abs=1e-4)


def test_kernels_are_as_wide_as_they_should_be() -> None:
    at = torch.arange(-100, 101, dtype=torch.float64)

    def deviation(line: torch.Tensor) -> float:
        steps = at[100 - len(line) // 2 : 101 + len(line) // 2]
        return float((line.double() * steps**2).sum().sqrt())

    assert deviation(gaussian_kernel(3.0).sum(0)) == pytest.approx(3.0, rel=0.01)
    assert deviation(disc_kernel(9.0).sum(0)) == pytest.approx(
        4.5, rel=0.01
    )  # a disc of radius r: r / 2 an axis
    # half a Gaussian, hardly cut: sqrt(1 - 2 / pi) of its standard deviation
    assert deviation(trail_kernel(20, 8, 0.0).sum(0)) == pytest.approx(
        8 * (1 - 2 / np.pi) ** 0.5, rel=0.02
    )


@pytest.mark.parametrize("name", KERNELS)
def test_a_constant_image_stays(name: str) -> None:
    image = torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1).expand(3, 30, 41)
    torch.testing.assert_close(blur(image, KERNELS[name]()), image, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur"])
def test_blurs_leave_constant_images(name: str) -> None:
    image = torch.tensor([0.2, 0.5, 0.9]).view(3, 1, 1).expand(3, 64, 80)
    torch.testing.assert_close(_apply(image, f"{name}@s5"), image, rtol=0, atol=2e-6)


def test_blur_is_a_correlation_with_the_border_repeated() -> None:
    image = torch.rand(3, 9, 12, generator=_generator())
    kernel = torch.rand(5, 3, generator=_generator(1))
    padded = np.pad(image.numpy(), ((0, 0), (2, 2), (1, 1)), mode="edge")
    expected = np.zeros((3, 9, 12))
    for row in range(5):
        for column in range(3):
            expected += float(kernel[row, column]) * padded[:, row : row + 9, column : column + 12]
    np.testing.assert_allclose(blur(image, kernel).numpy(), expected, atol=1e-5)


def test_gaussian_blur_agrees_with_pillow(room: torch.Tensor) -> None:
    picture = Image.fromarray((room.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8))
    deviation = 3 * 96 / 224
    expected = (
        np.asarray(picture.filter(ImageFilter.GaussianBlur(deviation)), dtype=np.float64) / 255
    )
    found = _apply(room, "gaussian_blur@s3").permute(1, 2, 0).numpy()
    assert np.abs(found - expected)[8:-8, 8:-8].mean() < 0.004  # Pillow's is three box filters


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "motion_blur", "zoom_blur"])
def test_blurs_do_not_move_objects(name: str) -> None:
    """Compare the positions of blurred objects with their labels, also far from the centre."""
    for row, column in ((60, 60), (40, 110), (90, 128)):
        image = torch.zeros(3, 120, 160)
        image[:, row - 2 : row + 3, column - 2 : column + 3] = 1.0
        out = _apply(image, f"{name}@s3")
        assert _centre_of_mass(out[0]) == pytest.approx((row, column), abs=0.8)


def test_lengths_scale_with_the_picture() -> None:
    """A step edge in an image of twice the size is blurred over the same share of it."""

    def edge(size: int, text: str) -> torch.Tensor:
        image = torch.zeros(3, size, size)
        image[:, :, size // 2 :] = 1.0
        return _apply(image, text)[0, size // 2]

    for text in ("gaussian_blur@s3", "defocus_blur@s3", "gaussian_blur@4.5"):
        small, large = edge(96, text), edge(192, text).view(-1, 2).mean(1)
        assert float((small - large).abs().max()) < 0.02


# Weather


def test_plasma_fills_its_range_and_is_rougher_where_detail_fades_less() -> None:
    smooth, rough = plasma(100, 2.0, _generator()), plasma(100, 1.4, _generator())
    for relief in (smooth, rough):
        assert relief.shape == (128, 128)
        assert float(relief.min()) == 0
        assert float(relief.max()) == 1
    step = [float((relief[1:] - relief[:-1]).abs().mean()) for relief in (smooth, rough)]
    assert 1.5 * step[0] < step[1]
    wrapped = (smooth[0] - smooth[-1]).abs().mean()  # it wraps around
    assert float(wrapped) < 3 * step[0]


def test_plasma_by_hand() -> None:
    """For 2x2: a corner 0, a centre b, edges with the mean of their neighbours and a bump."""
    middle, across, down = (2 * float(x) - 1 for x in torch.rand(3, generator=_generator(5)))
    relief = np.array([[0, 2 * middle / 4 + across], [2 * middle / 4 + down, middle]])
    expected = (relief - relief.min()) / (relief.max() - relief.min())
    np.testing.assert_allclose(plasma(2, 3.0, _generator(5)).numpy(), expected, atol=1e-6)


def test_fog_is_a_mixture_with_grey(room: torch.Tensor) -> None:
    out = _apply(room, "fog@s2")
    relief = plasma(120, 2.0, _generator())[:96, :120]
    brightest = float(room.max())
    torch.testing.assert_close(out, (room + 2.0 * relief) * brightest / (brightest + 2.0))
    assert out.std() < room.std()


def test_snow_only_brightens_what_is_dark(room: torch.Tensor) -> None:
    dark = 0.3 * room
    out = _apply(dark, "snow@s1")
    assert (out >= dark - 1e-6).all()
    grey = (dark * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0)
    ground = 0.8 * dark + 0.2 * torch.maximum(dark, 1.5 * grey + 0.5)
    flakes = out - ground
    assert flakes.min() > -1e-5
    assert 0.001 < float((flakes > 0.1).float().mean()) < 0.6
    clipped = out == 1
    both = ~(clipped | clipped.flip(1, 2))  # they fall in both directions
    torch.testing.assert_close(flakes[both], flakes.flip(1, 2)[both], rtol=0, atol=1e-5)


# Colour

PIXELS = [
    (0.0, 0.0, 0.0),
    (1.0, 1.0, 1.0),
    (0.4, 0.4, 0.4),
    (0.8, 0.2, 0.1),
    (0.1, 0.6, 0.3),
    (0.3, 0.31, 0.9),
]


def _by_pixel(change: Callable[[float, float, float], tuple[float, float, float]]) -> torch.Tensor:
    changed = []
    for pixel in PIXELS:
        hue, saturation, value = change(*colorsys.rgb_to_hsv(*pixel))
        changed.append(colorsys.hsv_to_rgb(hue, min(max(saturation, 0), 1), min(max(value, 0), 1)))
    return torch.tensor(changed).T.reshape(3, 2, 3)


@pytest.fixture
def palette() -> torch.Tensor:
    return torch.tensor(PIXELS).T.reshape(3, 2, 3).contiguous()


@pytest.mark.parametrize("added", [0.1, 0.5, -0.3])
def test_brightness_is_added_to_the_value(added: float, palette: torch.Tensor) -> None:
    expected = _by_pixel(lambda h, s, v: (h, s, v + added))
    torch.testing.assert_close(_apply(palette, f"brightness@{added}"), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_saturation_is_changed_at_constant_hue_and_value(level: int, palette: torch.Tensor) -> None:
    factor, added = KINDS["saturate"].severities[level - 1]
    expected = _by_pixel(lambda h, s, v: (h, s * factor + added, v))
    torch.testing.assert_close(_apply(palette, f"saturate@s{level}"), expected, rtol=0, atol=1e-6)


def test_contrast_is_a_share_of_each_channels_own(room: torch.Tensor) -> None:
    out = _apply(room, "contrast@0.3")
    for channel in range(3):
        assert float(out[channel].mean()) == pytest.approx(float(room[channel].mean()), abs=1e-5)
        assert float(out[channel].std()) == pytest.approx(
            0.3 * float(room[channel].std()), rel=1e-4
        )


# Digital


def test_pixelate_shows_means_of_squares() -> None:
    image = torch.rand(3, 32, 48, generator=_generator())
    means = image.view(3, 8, 4, 12, 4).mean(dim=(2, 4))
    expected = means.repeat_interleave(4, 1).repeat_interleave(4, 2)
    torch.testing.assert_close(_apply(image, "pixelate@s5"), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(_apply(image, "pixelate@1"), image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("quality", [7, 30, 95])
def test_jpeg_is_pillows(quality: int, room: torch.Tensor) -> None:
    file = io.BytesIO()
    picture = Image.fromarray(np.uint8(np.rint(np.moveaxis(room.numpy(), 0, 2) * 255)))
    picture.save(file, "JPEG", quality=quality)
    file.seek(0)
    expected = np.moveaxis(np.array(Image.open(file)), 2, 0)
    found = (_apply(room, f"jpeg@{quality}").numpy() * 255).round().astype(np.uint8)
    assert np.array_equal(found, expected)
