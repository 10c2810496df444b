"""What every data set gives: batches of images in [0, 1] with per-task targets.

Conventions, stated once:

* `images` (B, 3, H, W) float32 RGB in [0, 1]; the model normalises, the data do not.
* `semseg` (B, H, W) int64, class index or 255.
* `depth` (B, 1, H, W) float32, distance along the optical axis; 255 where there is none. Metres,
  except on Taskonomy (its log encoding, as published).
* `normals` (B, 3, H, W) float32 unit vectors in the camera frame, x right, y down, z forward,
  pointing towards the camera; 255 in all three channels where there is none.
* `edge` (B, 1, H, W) float32, 0 or 1 (a real value on Taskonomy); 255 where there is none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch

from ttt_bench.data.images.augment_batch import coin, hflip
from ttt_bench.network import Batch
from ttt_bench.util.progress import Progress

__all__ = ["Batch", "Dataset"]


class Dataset(ABC):
    """A split of a domain at one size.

    Attributes:
        domain: the domain's name.
        size: (H, W) of every image.
        tasks: the tasks it has targets for, in canonical order.
        fingerprint: a hash that changes when anything that it gives does.
        notices: what a reader of its results has to know: what was left out, assumed or chosen.
    """

    domain: str
    size: tuple[int, int]
    tasks: tuple[str, ...]
    fingerprint: str
    notices: tuple[str, ...] = ()

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples at these indices, in this order; deterministic, whatever the batch."""

    def name(self, index: int) -> str:
        """What a picture of it is called, such as the name of its file."""
        return f"image {index}"

    def augmented(self, indices: Sequence[int], seed: int) -> Batch:
        """The samples at these indices, randomly changed for training, their targets with them.

        Here each is mirrored with probability 1/2; a data set may have a recipe of its own. What
        comes out depends on the indices, the seed and each sample's position in the batch,
        whichever process makes it.
        """
        return hflip(self.batch(indices), coin(len(indices), torch.Generator().manual_seed(seed)))

    def prepare(self, progress: Progress) -> None:
        """Make ready before hours of work: render what is not in the cache, look for damage in
        files.

        Raises:
            DataError: a file that is missing, damaged or out of range, named with what is wrong.
        """
        return
