"""The camera's effects: tone curve, vignette, blur, noise, grey levels."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, hypot

import numpy as np
import torch
from torch import Tensor

from ttt_bench.data.rooms.dice import Stream, generator
from ttt_bench.data.rooms.looks import Look
from ttt_bench.data.rooms.scene import Scene

TONES = 64  # knots of the tone curve, which is linear between them
LENS = 0.42  # pixels; blur of every image, which softens the steps of one ray per pixel


def develop(
    light: Tensor, scenes: Sequence[Scene], look: Look, seed: int, indices: Sequence[int]
) -> Tensor:
    """Return images (B, 3, H, W) in [0, 1], multiples of 1/255, from linear light (B, 3, H, W)."""
    images = _expose(light, scenes)
    height, width = images.shape[2:]
    images = _vignette(images, scenes)
    scale = min(height, width) / 64
    images = _blur(
        images, [hypot(LENS, scene.optics.blur * scale) for scene in scenes], _reach(look, scale)
    )
    for row, (scene, index) in enumerate(zip(scenes, indices, strict=True)):
        noise = generator(seed, index, Stream.PIXELS).standard_normal(
            (3, height, width), dtype=np.float32
        )
        images[row] += torch.from_numpy(noise) * scene.optics.noise
    steps = torch.tensor([float(scene.optics.levels - 1) for scene in scenes]).view(-1, 1, 1, 1)
    images = ((images.clamp_(0.0, 1.0) * steps).round_() / steps).clamp_(0.0, 1.0)
    return (images * 255.0).round_() / 255.0


def _knots(gamma: float) -> list[float]:
    """Return the values of the tone curve at its knots, and 1 once more."""
    return [(step / TONES) ** (gamma * 2.0 / 2.2) for step in range(TONES + 1)] + [1.0]


def _expose(light: Tensor, scenes: Sequence[Scene]) -> Tensor:
    """Apply the tone curve from a table per scene.

    A power of a tensor is not rounded equally at all of its positions.
    """
    root = light.clamp(0.0, 1.0).sqrt() * TONES
    curves = torch.tensor([_knots(scene.lamp.gamma) for scene in scenes]).view(-1)
    below = root.floor()
    start = (torch.arange(len(scenes)) * (TONES + 2)).view(-1, 1, 1, 1)
    place = below.to(torch.int64) + start
    low = curves.index_select(0, place.view(-1)).view_as(root)
    high = curves.index_select(0, place.view(-1) + 1).view_as(root)
    return low + (high - low) * (root - below)


def _vignette(images: Tensor, scenes: Sequence[Scene]) -> Tensor:
    height, width = images.shape[2:]
    y = (torch.arange(height, dtype=torch.float32) + (0.5 - height / 2)) / (height / 2)
    x = (torch.arange(width, dtype=torch.float32) + (0.5 - width / 2)) / (width / 2)
    radius = (y * y)[:, None] + (x * x)[None, :]
    strength = torch.tensor([scene.optics.vignette for scene in scenes]).view(-1, 1, 1, 1)
    return images * (1.0 - strength * radius * 0.5)


def _reach(look: Look, scale: float) -> int:
    """Return the taps on each side of the blur, which are equal for all images of a look."""
    return ceil(2.5 * hypot(LENS, look.sensor.blur[1] * scale))


def _blur(images: Tensor, sigmas: Sequence[float], reach: int) -> Tensor:
    """Return a separable Gaussian blur, as a sum of shifted images in a fixed order."""
    weights = []
    for sigma in sigmas:
        taps = [exp(-0.5 * (step / sigma) ** 2) for step in range(reach + 1)]
        total = taps[0] + 2 * sum(taps[1:])
        weights.append([tap / total for tap in taps])
    table = torch.tensor(weights).t().reshape(reach + 1, -1, 1, 1, 1)
    for axis in (2, 3):
        count = images.shape[axis]
        steps = torch.arange(-reach, count + reach).clamp(0, count - 1)
        padded = images.index_select(axis, steps)
        images = images * table[0]
        for step in range(1, reach + 1):
            both = padded.narrow(axis, reach - step, count) + padded.narrow(
                axis, reach + step, count
            )
            images = images + both * table[step]
    return images
