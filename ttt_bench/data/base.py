"""The interface of every data set: batches of images in [0, 1] with per-task targets.

Conventions of all batches:

* `images` (B, 3, H, W) float32 RGB in [0, 1]. The model normalises images, data sets do not.
* `semseg` (B, H, W) int64, a class index; 255 marks a pixel without a target.
* `depth` (B, 1, H, W) float32, the distance along the optical axis; 255 marks a pixel without a
  target. Values are metres, except for Taskonomy (its log encoding, as published).
* `normals` (B, 3, H, W) float32 unit vectors in the camera frame (x right, y down, z forward) that
  point towards the camera; 255 in all three channels marks a pixel without a target.
* `edge` (B, 1, H, W) float32, 0 or 1 (a real value for Taskonomy); 255 marks a pixel without a
  target.
* `human_parts` (B, H, W) int64, an index of `ttt_bench.tasks.HUMAN_PARTS`; 255 marks a pixel
  without a target, such as every pixel of an image without people.
* `saliency` (B, 1, H, W) float32, 0 or 1; 255 marks a pixel without a target.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ttt_bench.data.images.augment_batch import coin, hflip
from ttt_bench.network import Batch
from ttt_bench.util.progress import Progress

__all__ = ["Area", "Batch", "Dataset", "PlacedBatch"]

Area = tuple[slice, slice]
"""Rows and columns of an image's picture, without the padding around it."""


class PlacedBatch(NamedTuple):
    """A batch, and the area of each image that its picture fills."""

    batch: Batch
    areas: Sequence[Area]

    def valid(self) -> Tensor | None:
        """Return where pixels are not padding, (B, 1, H, W) bool; None if no image is padded."""
        images = self.batch.images
        inside = torch.zeros(len(images), 1, *images.shape[-2:], dtype=torch.bool)
        for mask, (rows, columns) in zip(inside, self.areas, strict=True):
            mask[:, rows, columns] = True
        return None if inside.all() else inside


class Dataset(ABC):
    """A split of a domain at one size.

    Attributes:
        domain: name of the domain.
        size: (H, W) of every image, in pixels.
        tasks: tasks with targets, in canonical order.
        fingerprint: hash of everything that the images and targets depend on.
        notices: sentences for readers of the results: what was left out, assumed or chosen.
        basis: what the fingerprint rests on: "full" (the contents of all files, see `data check
            --full`), "sampled" (names, sizes and some contents), "rendered" (code), or "declared"
            (what the code of another package hashes).
        contents: a hash of the contents of all files; None if they are not known.
    """

    domain: str
    size: tuple[int, int]
    tasks: tuple[str, ...]
    fingerprint: str
    notices: tuple[str, ...] = ()
    basis: str = "declared"
    contents: str | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> Batch:
        """Return the samples at these indices, in this order.

        A sample depends on its index alone, not on the rest of the batch.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """

    def placed(self, indices: Sequence[int]) -> PlacedBatch:
        """Return the samples at these indices and the areas of their pictures.

        Shifts change the picture alone. By default it fills the image; a data set that pads its
        images overrides this.

        Raises:
            DataError: a file is missing, damaged or out of range.
        """
        return PlacedBatch(self.batch(indices), [(slice(None), slice(None))] * len(indices))

    def name(self, index: int) -> str:
        """Return a name for an image, such as the name of its file."""
        return f"image {index}"

    def ids(self) -> frozenset[str]:
        """Return names that no other image of the domain has, in any split; empty if unknown."""
        return frozenset()

    def augmented(self, indices: Sequence[int], seed: int) -> Batch:
        """Return the samples at these indices, changed at random for training with their targets.

        By default each sample is mirrored with probability 1/2. The result depends on the indices,
        the seed and each sample's position in the batch, not on the process that makes it.
        """
        return hflip(self.batch(indices), coin(len(indices), torch.Generator().manual_seed(seed)))

    def prepare(self, progress: Progress) -> None:
        """Do the work that must precede a long run: render missing images, check files for damage.

        Raises:
            DataError: files are missing, damaged or out of range; names them.
        """
        return
