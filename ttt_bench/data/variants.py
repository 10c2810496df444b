"""Whose data handling: S4T's public code, or the same with its plain defects corrected. Imports no
torch.

A variant is a name for a set of options; results record the options beside the name. What the
published setting chooses on purpose (the test subset, training on the validation buildings, the
padding) is the same in both.

Two defects of the public code cannot be had here. It pairs the files of a frame by their position
in sorted listings, and puts the neighbour's file in an unreadable one's place; both come to light
only on incomplete or damaged folders, and what they give there depends on the damage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ttt_bench.errors import unknown


@dataclass(frozen=True)
class DataVariant:
    """How images and targets are made, and what of their handling lies with the model and the
    losses.

    Attributes:
        name: what `--data-variant` and the rows call it.
        normalisation: the statistics that the model normalises images with: ImageNet's for all, or
            `per_dataset` (Taskonomy to [-1, 1], the others ImageNet's, so that a model sees other
            statistics while it adapts).
        label_resize: how label maps of Taskonomy change their size. Bilinear mixes ids into ids of
            other classes; pictures with a palette take the nearest all the same, since Pillow does
            so.
        flip_negates_x: whether a mirrored normal of Taskonomy changes the sign of its x.
        normal_loss_axis: what Taskonomy's cosine loss on normals sums over: the vector's channels,
            or the picture's width.
        one_pixel_crop: whether training images of Taskonomy are moved by 0 or 1 pixel on each axis,
        zeros coming in.
        mask_invalid: whether depth out of range and missing normals of Taskonomy, and the middle
            grey that stands for a missing normal in 8-bit maps, are left out. Otherwise they are
            trained on and scored.
        balanced_crop: whether a random crop of NYUD-v2 and PASCAL-Context is drawn again, up to ten
            times, where a single class fills more than three quarters of it. The public code looks
            at the edges instead of the classes, which never meets the rule, so that the last of ten
            draws is taken.
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
    "corrected",
    normalisation="imagenet",
    label_resize="nearest",
    flip_negates_x=True,
    normal_loss_axis="channels",
    one_pixel_crop=False,
    mask_invalid=True,
    balanced_crop=True,
)
OFFICIAL = DataVariant(
    "official",
    normalisation="per_dataset",
    label_resize="bilinear",
    flip_negates_x=False,
    normal_loss_axis="width",
    one_pixel_crop=True,
    mask_invalid=False,
    balanced_crop=False,
)

VARIANTS: dict[str, DataVariant] = {variant.name: variant for variant in (CORRECTED, OFFICIAL)}
"""Every variant by its name; the first is the default."""


def find_variant(name: str) -> DataVariant:
    """The variant of that name.

    Raises:
        BenchError: there is none.
    """
    if name not in VARIANTS:
        raise unknown("data variant", name, VARIANTS)
    return VARIANTS[name]
