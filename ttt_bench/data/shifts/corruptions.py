"""The shifts of `kinds`: functions that change the colours of an image, but not its geometry.

An image is (3, H, W) float32 RGB in [0, 1]. Each function takes an image, a generator for all its
randomness, and the shift's constants. It returns a new image, which `corrupt` clips to [0, 1].

"ImageNet-C" is Hendrycks and Dietterich (2019), see `kinds`. Its severities were chosen for 224x224
pixels; constants in pixels scale with the shorter side. Some of its corruptions move objects, which
does not change a class but makes the labels of pixels wrong. The functions here undo this and
document it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from math import ceil, cos, radians, sin

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional as F

from ttt_bench.data.shifts.kinds import Shift

PUBLISHED_SIZE = 224  # pixels, width and height of ImageNet-C's images

Corruption = Callable[..., Tensor]


def corrupt(image: Tensor, shift: Shift, generator: Generator) -> Tensor:
    """Return the image under a shift, clipped to [0, 1], the range of an image file.

    Args:
        image: (3, H, W) float32 in [0, 1]; it is not changed.
        generator: on the CPU, the source of all randomness.
    """
    return CORRUPTIONS[shift.name](image, generator, *shift.constants).clamp(0.0, 1.0)


def _scale(image: Tensor) -> float:
    """Return the number of pixels of this image per pixel of a published one."""
    return min(image.shape[-2:]) / PUBLISHED_SIZE


def _normal(image: Tensor, generator: Generator) -> Tensor:
    return torch.randn(image.shape, generator=generator)


# Noise, independent in every value


def gaussian_noise(image: Tensor, generator: Generator, alpha: float) -> Tensor:
    """Add Gaussian noise of alpha times the standard deviation of the image's values.

    The standard deviation is over pixels and channels. S4T, supplement, Table 2. The supplement
    does not state whether the noisy image is clipped. Here it is, since images of data sets are in
    [0, 1], so that values near black and white deviate slightly less than alpha.
    """
    return image + alpha * image.std(correction=0) * _normal(image, generator)


def absolute_noise(image: Tensor, generator: Generator, deviation: float) -> Tensor:
    """Add Gaussian noise of one standard deviation. ImageNet-C (there: Gaussian noise)."""
    return image + deviation * _normal(image, generator)


def shot_noise(image: Tensor, generator: Generator, photons: float) -> Tensor:
    """Replace values by photon counts; white has `photons` on average. ImageNet-C."""
    return torch.poisson(image * photons, generator) / photons


def impulse_noise(image: Tensor, generator: Generator, share: float) -> Tensor:
    """Replace a share of the values, half by black and half by white. ImageNet-C."""
    drawn = torch.rand(image.shape, generator=generator)
    return torch.where(drawn < share, (drawn < share / 2).to(image.dtype), image)


def speckle_noise(image: Tensor, generator: Generator, deviation: float) -> Tensor:
    """Add Gaussian noise whose standard deviation is a share of each value.

    From ImageNet-C's extra corruptions.
    """
    return image + image * deviation * _normal(image, generator)


# Blur


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Return an image (C, H, W) filtered with a kernel (K, L), K and L odd; borders are repeated.

    It uses the Fourier transform, since kernels have up to 100x100 pixels for images of 512 pixels.
    """
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = F.pad(image[None], (columns, columns, rows, rows), mode="replicate")[0]
    size = (padded.shape[1], padded.shape[2])
    # the conjugate makes it a correlation instead of a convolution
    product = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=size).conj()
    return torch.fft.irfft2(product, s=size)[:, : image.shape[1], : image.shape[2]]  # type: ignore[no-any-return]


def gaussian_kernel(deviation: float) -> Tensor:
    """Return a Gaussian (K, K) with sum 1, cut at four standard deviations."""
    reach = ceil(4.0 * deviation)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    line = torch.exp(-0.5 * (steps / deviation) ** 2)
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()


def disc_kernel(radius: float) -> Tensor:
    """Return a disc (K, K) with sum 1; pixels are weighted by their covered area."""
    radius = max(radius, 0.1)  # a smaller disc covers no point of the grid below
    fine, reach = 8, ceil(radius)
    extent = (2 * reach + 1) * fine
    steps = (torch.arange(extent, dtype=torch.float32) - (extent - 1) / 2) / fine
    covered = (steps[:, None] ** 2 + steps**2 <= radius**2).to(torch.float32)
    kernel = F.avg_pool2d(covered[None], fine)[0]
    return kernel / kernel.sum()


def trail_kernel(reach: float, deviation: float, degrees: float) -> Tensor:
    """Return a trail (K, K) with sum 1 along a line, with its centre of mass at the centre.

    It is half a Gaussian, brightest at its start and cut after twice `reach`. Lengths are in
    pixels.
    """
    count = max(int(2 * reach * 4) + 1, 2)  # four points per pixel, at least two
    along = torch.linspace(0.0, 2 * reach, count)
    weight = torch.exp(-0.5 * (along / deviation) ** 2)
    weight /= weight.sum()
    along -= (weight * along).sum()
    half = ceil(float(along.abs().max())) + 1
    kernel = torch.zeros(2 * half + 1, 2 * half + 1)
    x, y = half + along * cos(radians(degrees)), half + along * sin(radians(degrees))
    left, top = x.floor().long(), y.floor().long()
    right, low = x - left, y - top
    for dy, dx, part in (
        (0, 0, (1 - low) * (1 - right)),
        (0, 1, (1 - low) * right),
        (1, 0, low * (1 - right)),
        (1, 1, low * right),
    ):
        kernel.index_put_((top + dy, left + dx), weight * part, accumulate=True)
    return kernel


def gaussian_blur(image: Tensor, _: Generator, deviation: float) -> Tensor:
    """Blur with a Gaussian. ImageNet-C's extra corruptions."""
    return blur(image, gaussian_kernel(deviation * _scale(image)))


def defocus_blur(image: Tensor, _: Generator, radius: float) -> Tensor:
    """Blur with a disc. ImageNet-C, which smooths the disc's border; here the disc is exact."""
    return blur(image, disc_kernel(radius * _scale(image)))


def motion_blur(image: Tensor, generator: Generator, reach: float, deviation: float) -> Tensor:
    """Blur along a line within 45 degrees of the rows.

    ImageNet-C, whose trail begins at each pixel and so moves objects along it. Here the trail's
    centre of mass is at the pixel, so that labels stay correct.
    """
    degrees = 90.0 * float(torch.rand((), generator=generator)) - 45.0
    return blur(image, trail_kernel(reach * _scale(image), deviation * _scale(image), degrees))


def zoom_blur(image: Tensor, _: Generator, largest: float, step: float) -> Tensor:
    """Average the image with itself magnified about its centre by 1 to `largest`.

    ImageNet-C, where objects move outwards by half of the largest magnification. Here every
    magnification is divided by their mean, so that objects stay in place; borders are repeated.
    """
    count = round((largest - 1.0) / step) + 1
    # the image itself counts twice
    zooms = [1.0, *(1.0 + step * number for number in range(count))]
    mean = sum(zooms) / len(zooms)
    total = torch.zeros_like(image)
    for zoom in zooms:
        total += _magnified(image, zoom / mean)
    return total / len(zooms)


def _magnified(image: Tensor, factor: float) -> Tensor:
    """Return the image enlarged about its centre and cropped to its size, bilinear."""
    view = torch.tensor([[[1.0 / factor, 0.0, 0.0], [0.0, 1.0 / factor, 0.0]]])
    grid = F.affine_grid(view, [1, *image.shape], align_corners=False)
    return F.grid_sample(
        image[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0]


# Weather


def fog(image: Tensor, generator: Generator, thickness: float, decay: float) -> Tensor:
    """Mix with grey drifts and darken, so that the brightest value is kept. ImageNet-C."""
    height, width = image.shape[1:]
    drifts = plasma(max(height, width), decay, generator)[:height, :width]
    brightest = image.max()
    return (image + thickness * drifts) * brightest / (brightest + thickness)


def plasma(size: int, decay: float, generator: Generator) -> Tensor:
    """Return a random relief (N, N) from 0 to 1 by the diamond-square algorithm.

    N is the smallest power of two that is at least `size`. The relief wraps around. Each halving of
    the grid divides the random heights by the square of `decay`, as in ImageNet-C.
    """
    relief, height = torch.zeros(1, 1), 1.0

    def bumps(like: Tensor) -> Tensor:
        return height * (2.0 * torch.rand(like.shape, generator=generator) - 1.0)

    while len(relief) < max(size, 2):
        right, below = relief.roll(-1, 1), relief.roll(-1, 0)
        middle = (relief + right + below + right.roll(-1, 0)) / 4 + bumps(relief)
        across = (relief + right + middle + middle.roll(1, 0)) / 4 + bumps(relief)
        down = (relief + below + middle + middle.roll(1, 1)) / 4 + bumps(relief)
        rows = (
            torch.stack([relief, across], dim=2).flatten(1),
            torch.stack([down, middle], dim=2).flatten(1),
        )
        relief = torch.stack(rows, dim=1).flatten(0, 1)
        height /= decay**2
    relief = relief - relief.min()
    return relief / relief.max()


def snow(
    image: Tensor,
    generator: Generator,
    *constants: float,
) -> Tensor:
    """Whiten the image and add falling flakes, in one direction and its opposite. ImageNet-C.

    The flakes are drawn at the published size and then resized, since in a small image most are
    smaller than a pixel.

    Args:
        constants: the seven constants of a severity, as `kinds.KINDS` explains them.
    """
    mean, spread, size, threshold, reach, deviation, kept = constants
    height, width = (round(extent / _scale(image)) for extent in image.shape[1:])
    coarse = mean + spread * torch.randn(
        1, 1, ceil(height / size) + 1, ceil(width / size) + 1, generator=generator
    )
    layer = F.interpolate(coarse, scale_factor=size, mode="bilinear", align_corners=False)[
        0, :, :height, :width
    ]
    layer = torch.where(layer < threshold, 0.0, layer).clamp(0.0, 1.0)
    degrees = -90.0 * float(torch.rand((), generator=generator)) - 45.0
    layer = blur(layer, trail_kernel(reach, deviation, degrees))
    layer = F.interpolate(
        layer[None], size=image.shape[1:], mode="bilinear", antialias=True, align_corners=False
    )[0]
    red, green, blue = image
    grey = 0.299 * red + 0.587 * green + 0.114 * blue
    whitened = kept * image + (1.0 - kept) * torch.maximum(image, 1.5 * grey + 0.5)
    return whitened + layer + layer.flip(1, 2)


# Colour


def brightness(image: Tensor, _: Generator, added: float) -> Tensor:
    """Add to the value of hue, saturation and value. ImageNet-C."""
    value = image.amax(0)
    brighter = (value + added).clamp(0.0, 1.0)
    return torch.where(value > 0, image * (brighter / value.clamp(min=1e-8)), brighter)


def contrast(image: Tensor, _: Generator, kept: float) -> Tensor:
    """Move every value towards its channel's mean. ImageNet-C."""
    mean = image.mean(dim=(1, 2), keepdim=True)
    return mean + kept * (image - mean)


def saturate(image: Tensor, _: Generator, factor: float, added: float) -> Tensor:
    """Change the saturation of hue, saturation and value; grey counts as red. ImageNet-C."""
    value = image.amax(0)
    lack = 1.0 - image / value.clamp(min=1e-8)
    saturation = lack.amax(0)
    red = torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1)
    pattern = torch.where(saturation > 0, lack / saturation.clamp(min=1e-8), red)
    return value * (1.0 - (factor * saturation + added).clamp(0.0, 1.0) * pattern)


# Digital


def pixelate(image: Tensor, _: Generator, kept: float) -> Tensor:
    """Shrink and enlarge with Pillow's box filter, which shows squares. ImageNet-C."""
    height, width = image.shape[1:]
    small = max(int(width * kept), 1), max(int(height * kept), 1)
    channels = []
    for channel in image.numpy():
        picture = Image.fromarray(channel).resize(small, Image.Resampling.BOX)
        channels.append(np.asarray(picture.resize((width, height), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(channels))


def jpeg(image: Tensor, _: Generator, quality: float) -> Tensor:
    """Encode as JPEG with Pillow, and decode. ImageNet-C."""
    # (3, H, W) -> (H, W, 3)
    pixels = (image * 255.0).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, format="JPEG", quality=int(quality))
    decoded = np.asarray(Image.open(file), dtype=np.float32) / 255.0
    return torch.from_numpy(decoded.transpose(2, 0, 1).copy())


CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        gaussian_noise,
        absolute_noise,
        shot_noise,
        impulse_noise,
        speckle_noise,
        gaussian_blur,
        defocus_blur,
        motion_blur,
        zoom_blur,
        fog,
        snow,
        brightness,
        contrast,
        saturate,
        pixelate,
        jpeg,
    )
}
"""The function of every name in `kinds.KINDS`."""
