"""Random views of images for the contrastive loss of TTT++.

A random part of the image is enlarged to the image's size. It has 0.2 to 1 of the image's area and
3/4 to 4/3 of its aspect ratio, as far as that fits into the image. It is mirrored with probability
0.5, its colours are jittered with probability 0.8 and removed with probability 0.2. Brightness,
contrast, saturation and hue are jittered in this order; torchvision draws an order.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

VIEW_DRAWS = 11
"""Uniform numbers per view."""


def enlarge(
    images: Tensor, *, left: Tensor, top: Tensor, width: Tensor, height: Tensor, mirror: Tensor
) -> Tensor:
    """Enlarge a part of each image (N, C, H, W) to the image's size (bilinear).

    Args:
        images: (N, C, H, W).
        left: (N,), left edge of the part, as a share of the image's width.
        top: (N,), top edge, as a share of the image's height.
        width: (N,), width of the part, as a share of the image's width.
        height: (N,), height of the part, as a share of the image's height.
        mirror: (N,) bool, whether the part is mirrored.
    """
    none = torch.zeros_like(left)
    across = torch.where(mirror, -width, width)
    # affine maps from output to input positions, both from -1 to 1 over the image
    rows = [across, none, 2 * left + width - 1, none, height, 2 * top + height - 1]
    # six (N,) -> (N, 6) -> (N, 2, 3)
    maps = torch.stack(rows, dim=1).view(-1, 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def part_sides(area: Tensor, aspect: Tensor) -> tuple[Tensor, Tensor]:
    """Return width and height of a part, as shares of the image's.

    Args:
        area: (N,), share of the image's area.
        aspect: (N,) in [0, 1], position on a logarithmic scale from the narrowest to the widest
            allowed part: 3/4 to 4/3 of the image's aspect ratio, or what fits into the image.
    """
    limit = area.log().neg().clamp(max=math.log(4 / 3))
    ratio = ((2 * aspect - 1) * limit).exp()
    return (area * ratio).sqrt(), (area / ratio).sqrt()


def greyscale(images: Tensor) -> Tensor:
    """Return the luma of RGB images, (N, 3, H, W) -> (N, 1, H, W), by ITU-R 601."""
    red, green, blue = images.split(1, dim=1)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def blend(images: Tensor, other: Tensor | float, share: Tensor) -> Tensor:
    """Return share * images + (1 - share) * other, clipped to [0, 1]; `share` is (N,)."""
    return (_per_image(share) * images + (1 - _per_image(share)) * other).clamp(0, 1)


def shift_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of RGB images (N, 3, H, W) by `turn` (N,) full circles, in HSV."""
    # channels, value, chroma and hue are (N, H, W)
    red, green, blue = images.unbind(1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    divisor = torch.where(chroma == 0, 1, chroma)
    hue = torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    hue = torch.where(value == red, (green - blue) / divisor, hue) + 6 * turn.view(-1, 1, 1)
    # hue is in sixths of a circle; a channel has full chroma within one sixth of its hue, and
    # none beyond two: three (N, H, W) -> (N, 3, H, W)
    places = torch.stack([(offset + hue) % 6 for offset in (5, 3, 1)], dim=1)
    return value[:, None] - chroma[:, None] * torch.minimum(places, 4 - places).clamp(0, 1)


def jitter(images: Tensor, factors: Tensor, turn: Tensor) -> Tensor:
    """Change brightness, contrast and saturation by `factors` (N, 3) and hue by `turn` (N,).

    Factors of 1 and a turn of 0 have no effect.
    """
    brightness, contrast, saturation = factors.unbind(1)
    images = blend(images, 0.0, brightness)
    images = blend(images, greyscale(images).mean(dim=(1, 2, 3), keepdim=True), contrast)
    return shift_hue(blend(images, greyscale(images), saturation), turn)


def random_view(images: Tensor, draws: Tensor) -> Tensor:
    """Return a view of each image, (N, 3, H, W) in [0, 1] -> (N, 3, H, W).

    Args:
        images: (N, 3, H, W).
        draws: (N, VIEW_DRAWS) uniform in [0, 1).
    """
    part, factors, rest = draws.to(images.dtype).split([5, 3, 3], dim=1)
    area, aspect, left, top, mirror = part.unbind(1)
    turn, jittered, grey = rest.unbind(1)
    width, height = part_sides(0.2 + 0.8 * area, aspect)
    views = enlarge(
        images,
        left=left * (1 - width),
        top=top * (1 - height),
        width=width,
        height=height,
        mirror=mirror < 0.5,
    )
    jittering = jitter(views, 0.6 + 0.8 * factors, 0.2 * turn - 0.1)
    views = torch.where(_per_image(jittered < 0.8), jittering, views)
    return torch.where(_per_image(grey < 0.2), greyscale(views), views)


def _per_image(values: Tensor) -> Tensor:
    """Reshape one value per image so that it broadcasts over images, (N,) -> (N, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
