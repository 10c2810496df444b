"""A data set of random images with random targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ttt_bench.data.base import Dataset
from ttt_bench.metrics.measure.base import measurement_of
from ttt_bench.network import Batch
from ttt_bench.tasks import IGNORE

Shape = tuple[int, int, int]


class RandomImages(Dataset):
    """Random images with random targets; a few pixels of every target are ignored.

    Args:
        channels: task -> output channels.
        images: number of images.
        size: (H, W).
        seed: seeds the images.
        targets_seed: seeds the targets; data sets that differ in it alone have the same images.
    """

    domain = "random"

    def __init__(
        self,
        channels: Mapping[str, int],
        images: int,
        size: tuple[int, int],
        *,
        seed: int = 0,
        targets_seed: int = 0,
    ) -> None:
        self.size, self.tasks = size, tuple(channels)
        self.fingerprint = f"random-{images}-{size}-{seed}-{targets_seed}"
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.rand(images, 3, *size, generator=generator)
        draw = torch.Generator().manual_seed(1000 + targets_seed)
        self.targets = {
            task: _target(task, k, (images, *size), draw) for task, k in channels.items()
        }

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return these images with their targets."""
        rows = torch.as_tensor(list(indices))
        return Batch(
            self.images[rows], {task: target[rows] for task, target in self.targets.items()}
        )


def _target(task: str, channels: int, shape: Shape, draw: torch.Generator) -> Tensor:
    target = measurement_of(task).random_target(shape, channels, draw)
    # the second row of pixels of (N, H, W) or (N, K, H, W) is ignored
    target[..., 1, :] = IGNORE
    return target
