"""One image with its targets as arrays, and geometric changes of all of them. Imports no torch.

A `Sample` maps the names of the image and the tasks to arrays: `image` (3, H, W) uint8 RGB;
`semseg` and `human_parts` (H, W) uint8 class indices; `depth`, `edge` and `saliency` (1, H, W)
float32; `normals` (3, H, W) float32. Targets follow `ttt_bench.data.base`: 255 marks pixels without
a target, and the axes of normals are right / down / forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ttt_bench.data.images.files import Size
from ttt_bench.tasks import IGNORE

Sample = dict[str, NDArray[Any]]

IMAGE = "image"
MEAN_COLOUR = (0.485, 0.456, 0.406)
"""ImageNet's mean, the colour of padding: it is 0 after the network's normalisation."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The position of an image inside the network's input.

    Attributes:
        original: (H, W) of the file.
        scaled: (H, W) after scaling; equal to `original` unless that is larger than the input.
        top: rows above the image.
        left: columns to the left of the image.
    """

    original: Size
    scaled: Size
    top: int
    left: int

    @property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns of the image inside the input."""
        height, width = self.scaled
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


def placement(original: Size, size: Size) -> Placement:
    """Return the position of an image (H, W) = `original` inside an input of `size`.

    Images are never enlarged. Padding is even on both sides; an odd row or column is added below or
    to the right.
    """
    shrink = min(1.0, size[0] / original[0], size[1] / original[1])
    height, width = (max(1, round(length * shrink)) for length in original)
    return Placement(
        original=original,
        scaled=(height, width),
        top=(size[0] - height) // 2,
        left=(size[1] - width) // 2,
    )


def image_size(sample: Sample) -> Size:
    """Return (H, W) of a sample's image."""
    height, width = sample[IMAGE].shape[-2:]
    return height, width


def resized(sample: Sample, size: Size) -> Sample:
    """Return the sample at another size: the image bilinear, every target to the nearest pixel."""
    if image_size(sample) == size:
        return sample
    whole = Image.fromarray(np.ascontiguousarray(sample[IMAGE].transpose(1, 2, 0)))
    image = np.asarray(whole.resize((size[1], size[0]), Image.Resampling.BILINEAR)).transpose(
        2, 0, 1
    )
    return {
        name: image if name == IMAGE else nearest(value, size) for name, value in sample.items()
    }


def nearest(values: NDArray[Any], size: Size) -> NDArray[Any]:
    """Return values (..., H, W) at (..., *size); each pixel is the one that contains its centre."""
    rows, columns = (
        (np.arange(new) * 2 + 1) * old // (2 * new)
        for new, old in zip(size, values.shape[-2:], strict=True)
    )
    # one axis after the other is several times faster than both together
    found: NDArray[Any] = values.take(rows, axis=-2).take(columns, axis=-1)
    return found


def cubic(planes: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Return planes (C, H, W) at (C, *size), bicubic."""
    images = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    return np.stack(
        [np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC)) for image in images]
    )


def resized_vectors(vectors: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """Return vectors (3, H, W) at (3, *size), bicubic; zero where the nearest vector is zero."""
    if vectors.shape[1:] == size:
        return vectors
    there = nearest((vectors != 0).any(axis=0), size)
    return np.where(there, cubic(vectors, size), np.float32(0.0))


def zoomed(sample: Sample, factor: float) -> Sample:
    """Return the sample enlarged by a factor, as by a closer camera; depth is divided by it."""
    height, width = image_size(sample)
    larger = resized(sample, (max(1, round(height * factor)), max(1, round(width * factor))))
    if "depth" in larger:
        depth = larger["depth"]
        larger = {**larger, "depth": np.where(depth == IGNORE, depth, depth / np.float32(factor))}
    return larger


def cropped(sample: Sample, top: int, left: int, size: Size) -> Sample:
    """Return at most `size` of the sample, from a row and a column on."""
    return {
        name: value[..., top : top + size[0], left : left + size[1]]
        for name, value in sample.items()
    }


def mirrored(sample: Sample) -> Sample:
    """Return the sample mirrored horizontally, with the x of its normals negated."""
    turned = {name: value[..., ::-1] for name, value in sample.items()}
    if "normals" in turned:
        x, *rest = turned["normals"]
        turned["normals"] = np.stack([np.where(x == IGNORE, x, -x), *rest])
    return turned


def padded(sample: Sample, size: Size) -> Sample:
    """Return the sample centred in `size`, which must not be smaller.

    The image becomes float32 in [0, 1], with `MEAN_COLOUR` around it; targets have 255 around them.
    """
    rows, columns = placement(image_size(sample), size).area
    large: Sample = {}
    for name, value in sample.items():
        inside = value / np.float32(255.0) if name == IMAGE else value
        around = np.array(MEAN_COLOUR, dtype=np.float32)[:, None, None] if name == IMAGE else IGNORE
        large[name] = np.full((*value.shape[:-2], *size), around, dtype=inside.dtype)
        large[name][..., rows, columns] = inside
    return large
