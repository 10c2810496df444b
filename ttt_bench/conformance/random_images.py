"""A data set of random images with random targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ttt_bench.data.base import Dataset
from ttt_bench.network import Batch
from ttt_bench.tasks import IGNORE

Shape = tuple[int, int, int, int]


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
            task: _TARGETS.get(task, _values)((images, k, *size), draw)
            for task, k in channels.items()
        }

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return these images with their targets."""
        rows = torch.as_tensor(list(indices))
        return Batch(
            self.images[rows], {task: target[rows] for task, target in self.targets.items()}
        )


def _classes(shape: Shape, draw: torch.Generator) -> Tensor:
    """Return class indices (N, H, W) below K for shape (N, K, H, W)."""
    images, channels, height, width = shape
    target = torch.randint(0, channels, (images, height, width), generator=draw)
    target[:, 0] = IGNORE
    return target


def _values(shape: Shape, draw: torch.Generator) -> Tensor:
    return _without_a_row(torch.rand(shape, generator=draw))


def _unit_vectors(shape: Shape, draw: torch.Generator) -> Tensor:
    return _without_a_row(F.normalize(torch.rand(shape, generator=draw) - 0.5, dim=1))


def _edges(shape: Shape, draw: torch.Generator) -> Tensor:
    return _without_a_row((torch.rand(shape, generator=draw) < 0.1).float())


def _without_a_row(target: Tensor) -> Tensor:
    """Return the target (N, K, H, W) with its second row of pixels ignored."""
    target[:, :, 1] = IGNORE
    return target


_TARGETS: dict[str, Callable[[Shape, torch.Generator], Tensor]] = {
    "semseg": _classes,
    "normals": _unit_vectors,
    "edge": _edges,
}
