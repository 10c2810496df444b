"""One image with its targets as arrays, and the changes of size and place that all of them follow.

A `Sample` holds, by the names of the image and the tasks, arrays whose last two axes are rows and
columns: `image` (3, H, W) uint8 RGB; `semseg` (H, W) uint8 class indices; `depth` and `edge` (1, H,
W) and `normals` (3, H, W) float32. Targets hold what `ttt_bench.data.base` says: 255 where there is
none, normals right / down / forward. Imports no torch.
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
"""ImageNet's mean, which pads images: it is 0 once the network has normalised it."""


@dataclass(frozen=True)
class Placement:
    """Where an image lies in what the network sees.

    Attributes:
        original: (H, W) of the file.
        scaled: (H, W) that it was scaled to; equal to `original` unless that was larger than the
        size wanted.
        top, left: rows above it and columns to its left.
    """

    original: Size
    scaled: Size
    top: int
    left: int


def placement(original: Size, size: Size) -> Placement:
    """An image is never enlarged; what is missing is divided evenly, the odd row or column below
    or to the right.
    """
    shrink = min(1.0, size[0] / original[0], size[1] / original[1])
    height, width = (max(1, round(length * shrink)) for length in original)
    return Placement(original, (height, width), (size[0] - height) // 2, (size[1] - width) // 2)


def image_size(sample: Sample) -> Size:
    """(H, W) of a sample's image."""
    height, width = sample[IMAGE].shape[-2:]
    return height, width


def resized(sample: Sample, size: Size) -> Sample:
    """The sample at another size: the image bilinear, every target to the nearest pixel, no
    value changed.
    """
    if image_size(sample) == size:
        return sample
    picture = Image.fromarray(np.ascontiguousarray(sample[IMAGE].transpose(1, 2, 0)))
    image = np.asarray(picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)).transpose(
        2, 0, 1
    )
    return {
        name: image if name == IMAGE else nearest(value, size) for name, value in sample.items()
    }


def nearest(values: NDArray[Any], size: Size) -> NDArray[Any]:
    """(..., H, W) -> (..., *size), each pixel the one that its middle falls into."""
    rows, columns = (
        (np.arange(new) * 2 + 1) * old // (2 * new)
        for new, old in zip(size, values.shape[-2:], strict=True)
    )
    # one axis after the other is several times faster than both at once
    return values.take(rows, axis=-2).take(columns, axis=-1)


def cubic(planes: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """(C, H, W) -> (C, *size), bicubic."""
    images = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    return np.stack(
        [np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC)) for image in images]
    )


def resized_vectors(vectors: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    """(3, H, W) -> (3, *size), bicubic; zero, no vector, where the nearest one is."""
    if vectors.shape[1:] == size:
        return vectors
    there = nearest((vectors != 0).any(axis=0), size)
    return np.where(there, cubic(vectors, size), np.float32(0.0))


def zoomed(sample: Sample, factor: float) -> Sample:
    """The sample enlarged by a factor, as if the camera were so much nearer: depth is divided by
    it.
    """
    height, width = image_size(sample)
    larger = resized(sample, (max(1, round(height * factor)), max(1, round(width * factor))))
    if "depth" in larger:
        depth = larger["depth"]
        larger = {**larger, "depth": np.where(depth == IGNORE, depth, depth / np.float32(factor))}
    return larger


def cropped(sample: Sample, top: int, left: int, size: Size) -> Sample:
    """At most `size` of the sample, from this row and column on."""
    return {
        name: value[..., top : top + size[0], left : left + size[1]]
        for name, value in sample.items()
    }


def mirrored(sample: Sample) -> Sample:
    """The sample with left and right exchanged; the x of a normal changes its sign."""
    turned = {name: value[..., ::-1] for name, value in sample.items()}
    if "normals" in turned:
        x, *rest = turned["normals"]
        turned["normals"] = np.stack([np.where(x == IGNORE, x, -x), *rest])
    return turned


def padded(sample: Sample, size: Size) -> Sample:
    """The sample in the middle of one of `size`, which is nowhere smaller: the image in [0, 1],
    255 around targets.
    """
    place = placement(image_size(sample), size)
    rows = slice(place.top, place.top + place.scaled[0])
    columns = slice(place.left, place.left + place.scaled[1])
    large: Sample = {}
    for name, value in sample.items():
        inside = value / np.float32(255.0) if name == IMAGE else value
        around = np.array(MEAN_COLOUR, dtype=np.float32)[:, None, None] if name == IMAGE else IGNORE
        large[name] = np.full((*value.shape[:-2], *size), around, dtype=inside.dtype)
        large[name][..., rows, columns] = inside
    return large
