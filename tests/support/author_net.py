"""The tiny network on which the authors' codes ran for golden vectors and trajectories."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Adapter, Optimiser, Target
from ttt_bench.losses import RECIPES
from ttt_bench.network import Net


def author_layers(state: Mapping[str, Tensor]) -> nn.Sequential:
    """Return the network in train mode: two of convolution, BatchNorm and ReLU, and a last
    convolution.
    """
    classes, width = state["6.weight"].shape[:2]
    with torch.random.fork_rng(devices=[]):
        first, second = (nn.Conv2d(channels, width, 3, padding=1) for channels in (3, width))
        layers = [first, nn.BatchNorm2d(width), nn.ReLU(), second, nn.BatchNorm2d(width), nn.ReLU()]
        network = nn.Sequential(*layers, nn.Conv2d(width, classes, 1)).double()
    network.load_state_dict(
        {name: torch.as_tensor(value) for name, value in state.items()}
    )  # a count is a number here
    return network.train()


class AuthorModel(nn.Module):
    """The network behind the part of `Network` that methods of normalisation layers use.

    Args:
        state: its weights.
        pooled: whether every pixel gets the mean of the logits over pixels.
    """

    def __init__(self, state: Mapping[str, Tensor], *, pooled: bool = False) -> None:
        super().__init__()
        self.layers, self.pooled = author_layers(state), pooled
        self.heads = nn.Module()
        self.tasks = {"semseg": len(state["6.weight"])}

    def upstream(self, last: int) -> tuple[str, ...]:
        return tuple(name for name, _ in self.named_parameters())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        logits = self.layers(images)
        mean = logits.mean(dim=(2, 3), keepdim=True)
        return {"semseg": mean.expand_as(logits) if self.pooled else logits}


def author_session(
    adapter: Adapter,
    state: Mapping[str, Tensor],
    images: list[Tensor],
    optimiser: Optimiser,
    *,
    source: list[Tensor] | None = None,
    pooled: bool = False,
) -> Session:
    """Return a session on the network; `source` are the batches of its source statistics."""
    model = AuthorModel(state, pooled=pooled)
    net = Net(model, adapter.build(model, model.tasks)).double()  # type: ignore[arg-type]
    with torch.no_grad():
        ctx = HarnessContext(net, RECIPES["weighted"])
        statistics = adapter.source_statistics(net, source, ctx) if source else {}
    batch, _, height, width = images[0].shape
    return Session(
        net,
        adapter,
        target=Target(batch=batch, size=(height, width)),
        optimiser=optimiser,
        statistics=statistics,
        recipe=RECIPES["weighted"],
        seed=0,
    )
