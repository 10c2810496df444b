"""What each shift of `shifts` does to an image: small functions that change a picture and never
where things are.

An image is (3, H, W) float32 RGB in [0, 1]. Each function takes it, a generator that all its
randomness comes from, and the shift's constants, and returns a new image, which `corrupt` clips to
[0, 1].

"ImageNet-C" is Hendrycks and Dietterich (2019), see `shifts`; their severities were chosen for
224x224 pixels, and what they give in pixels scales with the shorter side. Where one of their
corruptions moves things, which a class does not notice and a label of every pixel does, its
function here puts them back and says so.
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

PUBLISHED_SIZE = 224  # pixels of ImageNet-C's pictures

Corruption = Callable[..., Tensor]


def corrupt(image: Tensor, shift: Shift, generator: Generator) -> Tensor:
    """The image under a shift, clipped to [0, 1], which is what a picture can hold.

    Args:
        image: (3, H, W) float32 in [0, 1]; it is not changed.
        generator: on the CPU, where all the shift's randomness comes from.
    """
    return CORRUPTIONS[shift.name](image, generator, *shift.constants).clamp(0.0, 1.0)


def _scale(image: Tensor) -> float:
    """Pixels of this image to one of the published ones."""
    return min(image.shape[-2:]) / PUBLISHED_SIZE


def _normal(image: Tensor, generator: Generator) -> Tensor:
    return torch.randn(image.shape, generator=generator)


# Noise, independent in every value


def gaussian_noise(image: Tensor, generator: Generator, alpha: float) -> Tensor:
    """Add Gaussian noise of standard deviation alpha times that of the image's own values, over
    pixels and channels.

    S4T, supplement, Table 2. Whether the noisy image is clipped there is not said; it is here, as
    every image of a data set lies in [0, 1], so that values near black and white deviate a little
    less than alpha says.
    """
    return image + alpha * image.std(correction=0) * _normal(image, generator)


def absolute_noise(image: Tensor, generator: Generator, deviation: float) -> Tensor:
    """Add Gaussian noise of one standard deviation. ImageNet-C (there: Gaussian noise)."""
    return image + deviation * _normal(image, generator)


def shot_noise(image: Tensor, generator: Generator, photons: float) -> Tensor:
    """Count photons, of which white has so many on average. ImageNet-C."""
    return torch.poisson(image * photons, generator) / photons


def impulse_noise(image: Tensor, generator: Generator, share: float) -> Tensor:
    """Replace this share of the values, half by black and half by white. ImageNet-C (salt and
    pepper).
    """
    drawn = torch.rand(image.shape, generator=generator)
    return torch.where(drawn < share, (drawn < share / 2).to(image.dtype), image)


def speckle_noise(image: Tensor, generator: Generator, deviation: float) -> Tensor:
    """Add Gaussian noise whose standard deviation is a share of each value. ImageNet-C's extra
    corruptions.
    """
    return image + image * deviation * _normal(image, generator)


# Blur


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """(C, H, W) filtered with a kernel (K, L) of odd extents; beyond the border its last pixel goes
    on.

    By Fourier transform, since at 512 pixels the kernels have up to a hundred pixels a side.
    """
    rows, columns = kernel.shape[0] // 2, kernel.shape[1] // 2
    padded = F.pad(image[None], (columns, columns, rows, rows), mode="replicate")[0]
    size = (padded.shape[1], padded.shape[2])
    # a correlation: the kernel's conjugate, so that nothing has to be turned around
    product = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=size).conj()
    return torch.fft.irfft2(product, s=size)[:, : image.shape[1], : image.shape[2]]


def gaussian_kernel(deviation: float) -> Tensor:
    """A Gaussian out to four standard deviations, (K, K) summing to 1."""
    reach = ceil(4.0 * deviation)
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    line = torch.exp(-0.5 * (steps / deviation) ** 2)
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()


def disc_kernel(radius: float) -> Tensor:
    """A disc (K, K) summing to 1, each pixel weighed by how much of it the disc covers."""
    fine, reach = 8, ceil(radius)
    extent = (2 * reach + 1) * fine
    steps = (torch.arange(extent, dtype=torch.float32) - (extent - 1) / 2) / fine
    covered = (steps[:, None] ** 2 + steps**2 <= radius**2).to(torch.float32)
    kernel = F.avg_pool2d(covered[None], fine)[0]
    return kernel / kernel.sum()


def trail_kernel(reach: float, deviation: float, degrees: float) -> Tensor:
    """A trail (K, K) summing to 1 along a line: half a Gaussian, brightest at its start, cut after
    twice `reach`.

    Lengths in pixels. Its centre of mass is the kernel's middle.
    """
    count = max(
        int(2 * reach * 4) + 1, 2
    )  # four points a pixel, so that a trail of two pixels is one too
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
    """Blur with a disc. ImageNet-C; it smooths the disc's rim with a small Gaussian, here it is
    exact.
    """
    return blur(image, disc_kernel(radius * _scale(image)))


def motion_blur(image: Tensor, generator: Generator, reach: float, deviation: float) -> Tensor:
    """Blur along a line within 45 degrees of the rows.

    ImageNet-C, whose trail starts at each pixel and so drags everything along it; here the trail's
    centre of mass stays where the pixel was, and with it the labels.
    """
    degrees = 90.0 * float(torch.rand((), generator=generator)) - 45.0
    return blur(image, trail_kernel(reach * _scale(image), deviation * _scale(image), degrees))


def zoom_blur(image: Tensor, _: Generator, largest: float, step: float) -> Tensor:
    """Average the image with itself magnified about its middle, from 1 to the largest
    magnification.

    ImageNet-C, where things move outwards by half of the largest magnification; here every
    magnification is divided by their mean, so that things stay, and beyond the border its last
    pixel goes on.
    """
    count = round((largest - 1.0) / step) + 1
    zooms = [
        1.0,
        *(1.0 + step * number for number in range(count)),
    ]  # the image itself counts twice
    mean = sum(zooms) / len(zooms)
    total = torch.zeros_like(image)
    for zoom in zooms:
        total += _magnified(image, zoom / mean)
    return total / len(zooms)


def _magnified(image: Tensor, factor: float) -> Tensor:
    """The image enlarged about its middle and cut to its size, linear between pixels."""
    view = torch.tensor([[[1.0 / factor, 0.0, 0.0], [0.0, 1.0 / factor, 0.0]]])
    grid = F.affine_grid(view, [1, *image.shape], align_corners=False)
    return F.grid_sample(
        image[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )[0]


# Weather


def fog(image: Tensor, generator: Generator, thickness: float, decay: float) -> Tensor:
    """Mix with grey drifts and darken, so that the brightest value stays possible. ImageNet-C."""
    height, width = image.shape[1:]
    drifts = plasma(max(height, width), decay, generator)[:height, :width]
    brightest = image.max()
    return (image + thickness * drifts) * brightest / (brightest + thickness)


def plasma(size: int, decay: float, generator: Generator) -> Tensor:
    """A random relief (N, N) from 0 to 1 with N the power of two from `size` on, by the
    diamond-square algorithm.

    It wraps around. Each halving of the grid divides the random heights by the decay's square, as
    ImageNet-C's does.
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
    mean: float,
    spread: float,
    size: float,
    threshold: float,
    reach: float,
    deviation: float,
    kept: float,
) -> Tensor:
    """Whiten the image and let flakes fall, in one direction and its opposite. ImageNet-C.

    The flakes are drawn for the published size and then resized, since in a small picture most are
    less than a pixel.
    """
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
    """Change the saturation of hue, saturation and value; what has no hue counts as red.
    ImageNet-C.
    """
    value = image.amax(0)
    lack = 1.0 - image / value.clamp(min=1e-8)
    saturation = lack.amax(0)
    red = torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1)
    pattern = torch.where(saturation > 0, lack / saturation.clamp(min=1e-8), red)
    return value * (1.0 - (factor * saturation + added).clamp(0.0, 1.0) * pattern)


# Digital


def pixelate(image: Tensor, _: Generator, kept: float) -> Tensor:
    """Average over squares and show the squares. ImageNet-C (Pillow's box filter, both ways)."""
    height, width = image.shape[1:]
    small = max(int(width * kept), 1), max(int(height * kept), 1)
    channels = []
    for channel in image.numpy():
        picture = Image.fromarray(channel).resize(small, Image.Resampling.BOX)
        channels.append(np.asarray(picture.resize((width, height), Image.Resampling.BOX)))
    return torch.from_numpy(np.stack(channels))


def jpeg(image: Tensor, _: Generator, quality: float) -> Tensor:
    """Encode as JPEG with Pillow, and decode. ImageNet-C."""
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
"""What every name in `shifts.KINDS` does."""
