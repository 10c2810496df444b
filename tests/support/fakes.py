"""A network small enough to be recomputed by hand: four stages, each a strided convolution,
BatchNorm and ReLU.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Adapter, Optimiser, Target
from ttt_bench.losses import RECIPES
from ttt_bench.model.networks.hypercolumn import Hypercolumn
from ttt_bench.network import Net

TASKS = {"semseg": 3, "depth": 1, "normals": 3, "edge": 1}
CHANNELS = (4, 6, 8, 10)
TARGET = Target(batch=2, size=(64, 96))


class TinyBackbone(nn.Module):
    """Four stages of stride 4, 8, 16, 32: convolution without bias, BatchNorm, ReLU."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *CHANNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[i], widths[i + 1], 3, stride=4 if i == 0 else 2, padding=1, bias=False)
            for i in range(4)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in CHANNELS)

    def forward(self, x: Tensor) -> list[Tensor]:
        stages = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x)).relu()
            stages.append(x)
        return stages


def tiny_net(adapter: Adapter, tasks: dict[str, int] = TASKS, seed: int = 0) -> Net:
    """Return a float64 network with random weights and statistics, and the method's modules."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = TinyBackbone()
        for norm in backbone.norms:
            norm.running_mean.uniform_(-0.5, 0.5)
            norm.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.2, 0.2)
        model = Hypercolumn(backbone, CHANNELS, tasks)
        return Net(model, adapter.build(model, tasks)).double()


def tiny_session(
    adapter: Adapter,
    optimiser: Optimiser,
    tasks: dict[str, int] = TASKS,
    *,
    recipe: str = "weighted",
    statistics: Mapping[str, Tensor] | None = None,
    images: Tensor | None = None,
) -> Session:
    """Return a session on a `tiny_net` that has begun batch 0.

    `images` is that batch; default: `random_images()`.
    """
    net = tiny_net(adapter, tasks)
    session = Session(
        net,
        adapter,
        target=TARGET,
        optimiser=optimiser,
        statistics=statistics or {},
        recipe=RECIPES[recipe],
        seed=0,
    )
    session.begin_batch(0, random_images() if images is None else images)
    return session


def random_images(count: int = 2, height: int = 64, width: int = 64, seed: int = 1) -> Tensor:
    """Return images (count, 3, height, width) float64 in [0, 1]."""
    return torch.rand(
        count, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
