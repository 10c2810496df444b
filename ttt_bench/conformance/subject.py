"""A method under test: small networks trained for a moment on random images, and sessions on
them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapt.context import HarnessContext
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Adapter, Norm
from ttt_bench.config.method_settings import MethodSettings, resolve_method
from ttt_bench.config.preset import ModelConfig, TrainingSettings, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.conformance.instruments import RandomImages
from ttt_bench.losses import RECIPES
from ttt_bench.model.network import resize
from ttt_bench.network import Net
from ttt_bench.train.chain import SourceSpec, training_chain
from ttt_bench.train.net import build_net
from ttt_bench.train.stage import StageRun

CHANNELS = {"semseg": 3, "depth": 1, "normals": 3, "edge": 1}
SOURCE_SIZE, TARGET_SIZE = (64, 64), (64, 96)
SIZES = (TARGET_SIZE, (96, 64), (61, 47), (33, 70))
RECIPE = RECIPES["weighted"]
ITERATIONS, STATISTICS_BATCHES = 3, 4
LEARNING_RATE = 1e-4
"""Large enough that what moves is seen to move within a few steps, and small enough for losses
far from their scale.
"""

State = dict[str, Tensor]


@dataclass(frozen=True)
class Subject:
    """A method with its settings, and the small world in which it is checked.

    Attributes:
        settings: options under the smoke preset and what was set; the optimiser's learning rate is
        replaced.
        backbone: a timm model.
    """

    method: type[Adapter]
    settings: MethodSettings
    backbone: str
    device: torch.device
    _trained: dict[tuple[str, ...], tuple[Net, State]] = field(default_factory=dict)

    @classmethod
    def create(
        cls, method: type[Adapter], settings: Mapping[str, Any], backbone: str, device: torch.device
    ) -> Subject:
        """A method with the options of the smoke preset and the given ones (`option` or
        `method.option` -> value).

        Raises:
            BenchError: an option that does not fit.
        """
        prefix = f"{method.name}."
        given = {f"{prefix}{key.removeprefix(prefix)}": value for key, value in settings.items()}
        resolved = resolve_method(method, resolve_preset("smoke", {}), Request(set=given))
        optimiser = resolved.optimiser.model_copy(
            update={"lr": LEARNING_RATE, "lr_per_sample": False}
        )
        return cls(method, replace(resolved, optimiser=optimiser), backbone, device)

    @property
    def adapter(self) -> Adapter:
        """A new adapter with the options: what one instance remembers cannot help another."""
        return self.method(self.settings.adapter.options)

    @property
    def batch(self) -> int:
        """Images of a batch: the smallest that the method takes, but at least two, as batch
        statistics need.
        """
        return max(2, self.adapter.needs().min_batch)

    @property
    def task_sets(self) -> list[dict[str, int]]:
        """All tasks, all but semseg, all but depth; those that the method can do with."""
        sets = [
            {t: k for t, k in CHANNELS.items() if t != left_out}
            for left_out in ("", "semseg", "depth")
        ]
        return [tasks for tasks in sets if self.adapter.needs().tasks <= tasks.keys()]

    @property
    def tasks(self) -> dict[str, int]:
        """The tasks of its network where the pair has all."""
        return self.own(CHANNELS)

    def own(self, channels: Mapping[str, int]) -> dict[str, int]:
        """Those of a pair's tasks that its network has."""
        return {task: channels[task] for task in self.adapter.own_tasks(tuple(channels))}

    def images(
        self, count: int | None = None, size: tuple[int, int] = TARGET_SIZE, seed: int = 7
    ) -> Tensor:
        """Target images (count, 3, H, W); by default a batch."""
        draw = torch.Generator().manual_seed(seed)
        return torch.rand(count or self.batch, 3, *size, generator=draw).to(self.device)

    def session(
        self, channels: Mapping[str, int] = CHANNELS, begin: Tensor | None = None, seed: int = 0
    ) -> Session:
        """A session of a new adapter on a copy of the trained network, at the beginning of batch
        0 if one is given.
        """
        net, statistics = self.trained(channels)
        # built anew and filled, not copied: a copy would drag along what an earlier session hung on
        # it
        fresh = build_net(self._spec(channels), self.adapter).to(self.device)
        fresh.load_state_dict(net.state_dict())
        session = Session(
            fresh,
            self.adapter,
            optimiser=self.settings.optimiser,
            statistics=statistics,
            recipe=RECIPE,
            batch=self.batch,
            seed=seed,
        )
        if begin is not None:
            session.begin_batch(0, begin)
        return session

    def trained(self, channels: Mapping[str, int] = CHANNELS) -> tuple[Net, State]:
        """The source model after a few iterations of every phase, and its statistics; made once."""
        key = tuple(channels)
        if key not in self._trained:
            self._trained[key] = self._train(channels)
        return self._trained[key]

    def _train(self, channels: Mapping[str, int]) -> tuple[Net, State]:
        adapter, spec = self.adapter, self._spec(channels)
        net = build_net(spec, adapter).to(self.device)
        dataset = RandomImages(
            self.own(channels), 4 * max(4, self._statistics_batch()), SOURCE_SIZE
        )
        with torch.random.fork_rng():
            for stage in training_chain(spec, adapter):
                short = replace(stage, iterations=min(ITERATIONS, stage.iterations))
                run = StageRun(net, short, spec, self.device)
                for first in range(short.iterations):
                    run.iterate(
                        dataset.batch(range(4 * first % len(dataset), 4 * first % len(dataset) + 4))
                    )
        return net, self._statistics(net, dataset)

    def _statistics_batch(self) -> int:
        wanted = self.adapter.source_pass()
        return wanted.batch if wanted else 0

    def _statistics(self, net: Net, dataset: RandomImages) -> State:
        adapter = self.adapter
        wanted = adapter.source_pass()
        if wanted is None:
            return {}
        ctx = HarnessContext(net.eval(), RECIPE)
        ctx.seed(0, adapter.name, "statistics")
        ctx.norms.set(Norm.RUNNING)
        size = TARGET_SIZE if wanted.at_target_size else SOURCE_SIZE
        batches = (
            dataset.images[: STATISTICS_BATCHES * wanted.batch].to(self.device).split(wanted.batch)
        )
        with torch.no_grad():
            found = adapter.source_statistics(
                net, iter([resize(batch, size) for batch in batches]), ctx
            )
        return copy.deepcopy(found)

    def _spec(self, channels: Mapping[str, int]) -> SourceSpec:
        training = TrainingSettings(
            batch=4, shared_iterations=0, iterations=3, shared_lr=1e-3, lr=1e-3, weight_decay=0
        )
        model = ModelConfig(backbone=self.backbone)
        return SourceSpec(
            domain="random",
            model=model,
            tasks=self.own(channels),
            recipe="weighted",
            training=training,
            fingerprint="random",
            seed=0,
        )
