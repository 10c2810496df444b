"""Augmentation of samples: the published recipe for NYUD-v2 and PASCAL-Context. Imports no torch.

Source: the recipe that ATRC, InvPT and S4T's public code share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttt_bench.data.images.files import Size
from ttt_bench.data.images.sample import IMAGE, Sample, cropped, image_size, mirrored, zoomed
from ttt_bench.tasks import IGNORE
from ttt_bench.util.seeding import derive_seed

SCALES = (0.5, 2.0)
CROP_TRIES = 10
LARGEST_SHARE = 0.75
"""A crop is drawn again if one class has this share of its pixels with a class, or more."""
BRIGHTNESS = 32.0
"""Largest value that is added to every channel, of 255."""
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = 18
"""Largest rotation of the hue, in steps of 2 degrees."""


def augmented_sample(
    sample: Sample,
    size: Size,
    stream: Callable[[str], np.random.Generator],
    *,
    balanced: bool = True,
) -> Sample:
    """Return a sample, scaled, cropped, mirrored and recoloured at random; at most `size`.

    Args:
        sample: the sample.
        size: the largest size.
        stream: returns the generator of a purpose: scale, crop, mirror, colour. The number of draws
            of a crop depends on its labels, which moves no other purpose.
        balanced: draw a crop again if it has one class, or mostly one.
    """
    view = zoomed(sample, stream("scale").uniform(*SCALES))
    view = random_crop(view, size, stream("crop"), balanced=balanced)
    if stream("mirror").random() < 0.5:
        view = mirrored(view)
    return {**view, IMAGE: recoloured(view[IMAGE], stream("colour"))}


def streams_of(seed: int, position: int) -> Callable[[str], np.random.Generator]:
    """Return the function that makes the generator of a purpose, for one image of a batch."""
    return lambda name: np.random.default_rng(derive_seed("augment", seed, position, name))


def random_crop(
    sample: Sample, size: Size, draw: np.random.Generator, *, balanced: bool = True
) -> Sample:
    """Return a crop of a sample of at most `size` at a random position.

    If `balanced`, up to `CROP_TRIES` positions are drawn until the crop has two classes of `semseg`
    or more, each with less than `LARGEST_SHARE` of the pixels that have a class; otherwise the last
    one is taken. This is `cat_max_ratio` of mmsegmentation's `RandomCrop`.
    """
    height, width = image_size(sample)
    tries = CROP_TRIES if balanced and "semseg" in sample else 1
    for _ in range(tries):
        top = int(draw.integers(0, max(height - size[0], 0) + 1))
        left = int(draw.integers(0, max(width - size[1], 0) + 1))
        crop = cropped(sample, top, left, size)
        if tries > 1 and largest_share(crop["semseg"]) < LARGEST_SHARE:
            break
    return crop


def largest_share(labels: NDArray[np.uint8]) -> float:
    """Return the most frequent class's share of the pixels with a class; 1 without any class."""
    counts = np.bincount(labels.ravel(), minlength=IGNORE + 1)[:IGNORE]
    return float(counts.max() / counts.sum()) if counts.any() else 1.0


def recoloured(image: NDArray[np.uint8], draw: np.random.Generator) -> NDArray[np.uint8]:
    """Return an image (3, H, W) with random brightness, contrast, saturation and hue.

    Each is changed with probability 1/2. Contrast is changed before saturation and hue, or after
    them, with equal probability.
    """
    early = draw.random() < 0.5
    if draw.random() < 0.5:
        image = _shaded(image, 1.0, draw.uniform(-BRIGHTNESS, BRIGHTNESS))
    contrast = draw.uniform(*CONTRAST) if draw.random() < 0.5 else 1.0
    if early:
        image = _shaded(image, contrast, 0.0)
    saturation = draw.uniform(*SATURATION) if draw.random() < 0.5 else 1.0
    turn = int(draw.integers(-HUE, HUE + 1)) if draw.random() < 0.5 else 0
    image = tinted(image, saturation, turn)
    return image if early else _shaded(image, contrast, 0.0)


def tinted(image: NDArray[np.uint8], saturation: float, turn: int) -> NDArray[np.uint8]:
    """Return an image (3, H, W) with its saturation multiplied and its hue rotated.

    Args:
        turn: rotation in steps of 2 degrees.
    """
    if saturation == 1.0 and turn == 0:
        return image
    hue, strength, value = np.asarray(_merged("RGB", image).convert("HSV")).transpose(2, 0, 1)
    hue = ((hue.astype(np.int32) + round(turn * 256 / 180)) % 256).astype(np.uint8)
    changed = np.stack([hue, _shaded(strength, saturation, 0.0), value])
    return np.asarray(_merged("HSV", changed).convert("RGB")).transpose(2, 0, 1)


def _merged(mode: str, planes: NDArray[np.uint8]) -> Image.Image:
    return Image.merge(mode, [Image.fromarray(np.ascontiguousarray(plane)) for plane in planes])


def _shaded(values: NDArray[Any], factor: float, addend: float) -> NDArray[np.uint8]:
    if factor == 1.0 and addend == 0.0:
        return values
    found: NDArray[np.uint8] = np.clip(
        np.rint(values * np.float32(factor) + np.float32(addend)), 0, 255
    ).astype(np.uint8)
    return found
