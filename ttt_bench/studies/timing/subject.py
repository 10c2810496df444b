"""A method bound to an untrained network, with a batch of random images, to be timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.meta import meta_net, plan_of
from ttt_bench.adapt.parameters import parameter_counts
from ttt_bench.adapt.returned import needs_of
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Adapter, Norm, Target
from ttt_bench.config.method_settings import MethodSettings
from ttt_bench.config.preset import Preset
from ttt_bench.data.pair import Pair
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.model.architecture import network_fields
from ttt_bench.model.layer_needs import missing_layers
from ttt_bench.model.parameters import count_parameters
from ttt_bench.network import Net
from ttt_bench.tasks import canonical, output_channels
from ttt_bench.train.chain import SourceSpec
from ttt_bench.train.net import build_net

STATISTICS_BATCHES = 4
"""Batches of random images that source statistics are measured on."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of a timing.

    Attributes:
        pair: the pair whose tasks and recipes are used; none of its data are read.
        preset_name: name of the preset.
        preset: network, batch and image sizes.
        classes: number of classes of semantic segmentation.
    """

    pair: Pair
    preset_name: str
    preset: Preset
    classes: int

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the images."""
        return self.preset.data.size(self.pair.target.name, "target")

    @property
    def target(self) -> Target:
        """The batches of images."""
        return Target(batch=self.preset.batch, size=self.size)

    def channels(self, adapter: Adapter) -> dict[str, int]:
        """Return task -> output channels of a method's network."""
        return output_channels(
            adapter.own_tasks(self.pair.tasks(self.preset.data.tasks)), self.classes
        )

    def record(self, adapter: Adapter) -> dict[str, Any]:
        """Return the sizes for a manifest."""
        return {
            "preset": self.preset_name,
            "pair": self.pair.name,
            "architecture": self.preset.model.architecture,
            "backbone": self.preset.model.backbone,
            "model": network_fields(self.preset.model),
            "batch": self.preset.batch,
            "image": list(self.size),
            "channels": self.channels(adapter),
        }


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A session with a batch on its device."""

    session: Session
    images: Tensor
    steps: int

    def predict(self) -> object:
        """Predict once."""
        return self.session.predict(self.images)

    def step(self) -> object:
        """Make one adaptation step with its update."""
        return self.session.adapt(self.images)

    def run(self, steps: int) -> object:
        """Adapt for a number of steps and predict at each of them, as an episodic run does."""
        return [k for k, _, _ in self.session.trajectory(self.images, steps)]

    def reset(self) -> None:
        """Restore the source model."""
        self.session.reset()

    @property
    def moves(self) -> bool:
        """Return whether the method updates parameters."""
        return bool(self.session.moved)

    def step_flops(self) -> int:
        """Return the floating-point operations of one step, forward and backward.

        `torch.utils.flop_counter` counts convolutions, matrix products and attention.
        """
        with FlopCounterMode(display=False) as counter:
            self.step() if self.moves else self.predict()
        self.reset()
        return int(counter.get_total_flops())


def counts(settings: MethodSettings, sizes: Sizes) -> dict[str, Any]:
    """Return the numbers of trainable parameters, as `ttt-bench params` does."""
    adapter = settings.adapter
    net = meta_net(sizes.preset.model, sizes.channels(adapter), adapter)
    trainable = count_parameters(net, adapter.uncounted)
    moves = plan_of(net, adapter, sizes.target).moves
    return parameter_counts(net, adapter, moves, trainable=trainable)


def make_subject(settings: MethodSettings, sizes: Sizes, device: torch.device) -> Subject:
    """Return a method on a network with random weights.

    Raises:
        BenchError: the network cannot be built, or the method does not fit it.
    """
    adapter, source, target = settings.adapter, sizes.pair.source, sizes.pair.target
    _require_fit(adapter, sizes)
    net = build_net(_spec(sizes, adapter), adapter, pretrained=False).to(device)
    session = Session(
        net,
        adapter,
        optimiser=settings.optimiser,
        statistics=_statistics(net, adapter, sizes, device),
        target=sizes.target,
        recipe=RECIPES[target.recipe],
        seed=0,
        source_recipe=RECIPES[source.recipe],
    )
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(sizes.preset.batch, 3, *sizes.size, generator=draw).to(device)
    session.begin_batch(0, images)
    return Subject(session=session, images=images, steps=settings.steps)


def _require_fit(adapter: Adapter, sizes: Sizes) -> None:
    """Raise an error if the tasks, the batch or the network do not suit a method."""
    needs, channels = needs_of(adapter), sizes.channels(adapter)
    if missing := needs.tasks - channels.keys():
        raise BenchError(f"it needs {', '.join(canonical(missing))}, which is not timed")
    if needs.batch not in (None, sizes.preset.batch):
        raise BenchError(f"it needs batches of {needs.batch} (--set batch={needs.batch})")
    model = sizes.preset.model
    if lacking := missing_layers(adapter, meta_net(model, channels).model, model.label):
        raise BenchError(f"it {lacking}")


def _spec(sizes: Sizes, adapter: Adapter) -> SourceSpec:
    return SourceSpec(
        domain=sizes.pair.source.name,
        model=sizes.preset.model,
        tasks=sizes.channels(adapter),
        recipe=sizes.pair.source.recipe,
        training=sizes.preset.training,
        fingerprint="random images",
        seed=0,
    )


def _statistics(
    net: Net, adapter: Adapter, sizes: Sizes, device: torch.device
) -> Mapping[str, Tensor]:
    """Return the method's source statistics of random images; empty if it needs none."""
    wanted = adapter.source_pass()
    if wanted is None:
        return {}
    ctx = HarnessContext(net.eval(), RECIPES[sizes.pair.source.recipe])
    ctx.norms.set(Norm.RUNNING)
    batches = (
        torch.rand(wanted.batch, 3, *sizes.size).to(device) for _ in range(STATISTICS_BATCHES)
    )
    with torch.no_grad():
        return adapter.source_statistics(net, batches, ctx)
