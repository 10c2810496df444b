"""Data variants: the data handling of S4T's public code, with or without its defects.

A variant is a name for a set of options; results record the options in addition to the name. Both
variants share the deliberate choices of the published setting: the test subset, training on the
validation buildings, the padding. This module imports no torch.

Two defects of the public code are not reproduced. It pairs the files of a frame by their position
in sorted listings, and it replaces an unreadable file by its neighbour. Both matter only for
incomplete or damaged folders, where their effect depends on the damage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ttt_bench.errors import unknown


@dataclass(frozen=True, kw_only=True)
class DataVariant:
    """Options for images and targets, and for model and losses where they depend on them.

    Attributes:
        name: name in `--data-variant` and in rows.
        normalisation: the statistics that the model normalises images with: ImageNet's for all data
            sets, or `per_dataset` (Taskonomy to [-1, 1], ImageNet's for the others, so that a model
            adapts under other statistics than it was trained with).
        label_resize: the filter that resizes label maps of Taskonomy. Bilinear mixes ids into ids
            of other classes. Images with a palette are always resized to the nearest pixel, as
            Pillow does.
        flip_negates_x: whether mirroring negates the x of Taskonomy's normals.
        normal_loss_axis: the axis that Taskonomy's cosine loss on normals sums over: the vector's
            channels, or the image's width.
        one_pixel_crop: whether training images of Taskonomy are moved by 0 or 1 pixel on each axis,
            with zeros at the border.
        mask_invalid: whether to leave out depth out of range and missing normals of Taskonomy, and
            the middle grey that marks a missing normal in 8-bit maps. Otherwise they are trained on
            and scored.
        balanced_crop: whether a random crop of NYUD-v2 and PASCAL-Context is drawn again, up to ten
            times, if it has fewer than two classes, or if one class has three quarters or more of
            its pixels with a class. The public code applies the
            rule to edges instead of classes, which never meet it, so that it takes the last of ten
            draws.
    """

    name: str
    normalisation: Literal["imagenet", "per_dataset"]
    label_resize: Literal["nearest", "bilinear"]
    flip_negates_x: bool
    normal_loss_axis: Literal["channels", "width"]
    one_pixel_crop: bool
    mask_invalid: bool
    balanced_crop: bool


CORRECTED = DataVariant(
    name="corrected",
    normalisation="imagenet",
    label_resize="nearest",
    flip_negates_x=True,
    normal_loss_axis="channels",
    one_pixel_crop=False,
    mask_invalid=True,
    balanced_crop=True,
)
OFFICIAL = DataVariant(
    name="official",
    normalisation="per_dataset",
    label_resize="bilinear",
    flip_negates_x=False,
    normal_loss_axis="width",
    one_pixel_crop=True,
    mask_invalid=False,
    balanced_crop=False,
)

VARIANTS: dict[str, DataVariant] = {variant.name: variant for variant in (CORRECTED, OFFICIAL)}
"""Every variant by name; the first is the default."""


def find_variant(name: str) -> DataVariant:
    """Return the variant of a name.

    Raises:
        BenchError: the name is unknown.
    """
    if name not in VARIANTS:
        raise unknown("data variant", name, VARIANTS)
    return VARIANTS[name]
