"""Strong views of images for RoTTA's student."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ttt_bench.adapter import Draws
from ttt_bench.methods._tttpp_views import jitter

BRIGHTNESS, CONTRAST, SATURATION, GAMMA = (0.6, 1.4), (0.7, 1.3), (0.5, 1.5), (0.7, 1.3)
HUE = 0.06
"""Largest turn of the hue, in full circles."""
BLUR = (0.001, 0.5)
"""Standard deviations of the blur, in pixels."""
NOISE = 0.005
"""Standard deviation of the noise, in units of RGB."""


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur images (N, C, H, W) with a Gaussian of 5 x 5 pixels; `sigma` (N,) in pixels."""
    offsets = torch.arange(-2, 3, device=images.device, dtype=images.dtype)
    # (N, 5)
    weights = (-(offsets**2) / (2 * sigma[:, None] ** 2)).softmax(dim=1)
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    for dim in (2, 3):
        length = padded.shape[dim] - 4
        parts = [padded.narrow(dim, k, length) * _per_image(weights[:, k]) for k in range(5)]
        padded = torch.stack(parts).sum(dim=0)
    return padded


def strong_view(images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return a view of each image (N, 3, H, W) in [0, 1], and whether it is mirrored (N,) bool."""
    numbers = draws.rand(len(images), 7).to(images.dtype)
    between = [BRIGHTNESS, CONTRAST, SATURATION, (-HUE, HUE), GAMMA, BLUR]
    lows, highs = numbers.new_tensor(between).unbind(1)
    # (N, 6)
    drawn = lows + (highs - lows) * numbers[:, :6]
    views = jitter(images, drawn[:, :3], drawn[:, 3]).clamp(0, 1) ** _per_image(drawn[:, 4])
    views = blur(views, drawn[:, 5]) + NOISE * draws.normal_like(images)
    mirrored = numbers[:, 6] < 0.5
    return mirror(views.clamp(0, 1), mirrored), mirrored


def mirror(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror those images (N, C, H, W) for which `mirrored` (N,) is true."""
    return torch.where(_per_image(mirrored), images.flip(-1), images)


def mirror_back(predictions: dict[str, Tensor], mirrored: Tensor) -> dict[str, Tensor]:
    """Mirror predictions of mirrored views; normals then have the opposite x."""
    found = {task: mirror(prediction, mirrored) for task, prediction in predictions.items()}
    if "normals" in found:
        x, rest = found["normals"].split([1, 2], dim=1)
        found["normals"] = torch.cat([torch.where(_per_image(mirrored), -x, x), rest], dim=1)
    return found


def _per_image(values: Tensor) -> Tensor:
    """Reshape one value per image so that it broadcasts over images, (N,) -> (N, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
