"""A method under test: small networks after a few iterations of source training, and sessions."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ttt_bench.adapt.meta import forward_error, meta_net, size_remedy
from ttt_bench.adapt.returned import needs_of
from ttt_bench.adapt.session import Session
from ttt_bench.adapter import Adapter, Context, Norm, Plan, StepOut, Target
from ttt_bench.config.method_settings import MethodSettings, resolve_method
from ttt_bench.config.preset import ModelConfig, TrainingSettings, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.conformance.attributes import Shared
from ttt_bench.conformance.instruments import WithoutInitialisation
from ttt_bench.conformance.random_images import RandomImages
from ttt_bench.errors import BenchError
from ttt_bench.losses import RECIPES
from ttt_bench.model.layer_needs import missing_layers
from ttt_bench.network import Net, Network
from ttt_bench.tasks import PAPER_TASKS, output_channels
from ttt_bench.train.chain import SourceSpec, training_chain, trains_on_source
from ttt_bench.train.net import build_net, with_modules
from ttt_bench.train.source_statistics import measure_source
from ttt_bench.train.stage import StageRun
from ttt_bench.util.input.validation import validated
from ttt_bench.util.problems import attempt
from ttt_bench.util.progress import Silent

CHANNELS = output_channels(PAPER_TASKS, classes=3)
"""Task -> output channels of a pair with every task of the papers."""
SOURCE_SIZE, TARGET_SIZE = (64, 64), (64, 96)
SIZES = (TARGET_SIZE, (96, 64), (61, 47), (33, 70))
"""Sizes (H, W) of target images that a method has to work on."""
ITERATIONS, TRAINING_BATCH, STATISTICS_BATCHES = 3, 4, 4
TRAINING = TrainingSettings(
    batch=TRAINING_BATCH,
    shared_iterations=0,
    iterations=ITERATIONS,
    shared_lr=1e-3,
    lr=1e-3,
    weight_decay=0,
)
LEARNING_RATE = 1e-4
"""Large enough to see parameters move within a few steps, small enough for losses of any scale."""

MODEL = "model."
"""Prefix of the settings of the network."""

State = dict[str, Tensor]


@dataclass(kw_only=True)
class Subject:
    """A method with its settings, and the networks on which it is checked.

    Attributes:
        method: the class.
        settings: its options under the smoke preset, and an optimiser with `LEARNING_RATE`.
        model: the configuration of the shared network.
        device: the device to run on.
        shared: the class attributes and globals of the method's package before it ran.
    """

    method: type[Adapter]
    settings: MethodSettings
    model: ModelConfig
    device: torch.device
    shared: Shared
    _trained: dict[tuple[str, ...], tuple[Net, State]] = field(
        default_factory=dict, init=False, repr=False
    )
    _untouched: dict[tuple[str, ...], Network] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def create(
        cls, method: type[Adapter], settings: Mapping[str, Any], backbone: str, device: torch.device
    ) -> Subject:
        """Return a method with the options of the smoke preset, changed by its `check_options`.

        Args:
            method: the class.
            settings: `option` or `method.option` -> value, which replace `check_options`; and
                `model.key` -> value for the network.
            backbone: a timm model.
            device: the device to run on.

        Raises:
            BenchError: an option is invalid, or another one is needed for images of all sizes.
        """
        prefix, network = f"{method.name}.", model_settings(settings)
        options = {key: value for key, value in settings.items() if not key.startswith(MODEL)}
        wanted = {**method.check_options, **options}
        given = {f"{prefix}{key.removeprefix(prefix)}": value for key, value in wanted.items()}
        resolved = resolve_method(method, resolve_preset("smoke", {}), Request(set=given))
        optimiser = resolved.optimiser.model_copy(
            update={"lr": LEARNING_RATE, "lr_per_sample": False}
        )
        model = validated(ModelConfig, {"backbone": backbone, **network}, f"{MODEL}{{}}".format)
        _require_sizes(model)
        return cls(
            method=method,
            settings=replace(resolved, optimiser=optimiser),
            model=model,
            device=device,
            shared=Shared.of(method),
        )

    def require_fit(self) -> None:
        """Raise an error if the network does not suit the method.

        Raises:
            BenchError: it cannot be built, or lacks layers that the method needs.
        """
        model = meta_net(self.model, CHANNELS).model
        try:
            missing = missing_layers(self.adapter, model, self.model.label)
        except Exception:  # a plugin may raise anything, which the checks report with its place
            return
        if missing:
            raise BenchError(f"{self.method.name} {missing}")

    @property
    def adapter(self) -> Adapter:
        """Return a new adapter, so that the state of one instance cannot help another."""
        return self.method(self.settings.adapter.options)

    @property
    def batch(self) -> int:
        """Return the images per batch that the method needs; at least 2 by default."""
        needs = needs_of(self.adapter)
        return needs.batch or max(2, needs.min_batch)

    @property
    def task_sets(self) -> list[dict[str, int]]:
        """Return all tasks, all but semseg, and all but depth, if they include what is needed."""
        needed = needs_of(self.adapter).tasks
        without_semseg, without_depth = dict(CHANNELS), dict(CHANNELS)
        del without_semseg["semseg"], without_depth["depth"]
        sets = [dict(CHANNELS), without_semseg, without_depth]
        return [tasks for tasks in sets if needed <= tasks.keys()]

    @property
    def tasks(self) -> dict[str, int]:
        """Return the tasks of the method's network on a pair with every task."""
        return self.own(CHANNELS)

    def own(self, channels: Mapping[str, int]) -> dict[str, int]:
        """Return those of a pair's tasks that the method's network has."""
        return {task: channels[task] for task in self.adapter.own_tasks(tuple(channels))}

    def spec(self, channels: Mapping[str, int]) -> SourceSpec:
        """Return the source training for a pair with these tasks."""
        return _spec(self.model, self.own(channels))

    def images(
        self, count: int | None = None, size: tuple[int, int] = TARGET_SIZE, seed: int = 7
    ) -> Tensor:
        """Return target images (count, 3, H, W); one batch by default."""
        draw = torch.Generator().manual_seed(seed)
        return torch.rand(count or self.batch, 3, *size, generator=draw).to(self.device)

    def network(self, channels: Mapping[str, int] = CHANNELS) -> Net:
        """Return a new network with the trained weights.

        The shared network is a copy of one that no method has seen, since a copy of another one
        would contain the hooks of earlier sessions. The method's modules are built.
        """
        trained, _ = self.trained(channels)
        spec, key = self.spec(channels), tuple(channels)
        if key not in self._untouched:
            self._untouched[key] = build_net(spec, None).model
        model = deepcopy(self._untouched[key])
        with WithoutInitialisation():
            net = with_modules(model, spec, self.adapter).to(self.device)
        net.load_state_dict(trained.state_dict())
        return net

    def session(
        self,
        channels: Mapping[str, int] = CHANNELS,
        begin: Tensor | None = None,
        *,
        still: bool = False,
        kind: type[Session] = Session,
    ) -> Session:
        """Return a session of a new adapter on a new network.

        Args:
            channels: task -> output channels of the pair.
            begin: images that are shown as batch 0; None to begin no batch.
            still: whether the learning rate is 0.
            kind: the class of the session.
        """
        _, statistics = self.trained(channels)
        optimiser = self.settings.optimiser
        like = self.images() if begin is None else begin
        height, width = like.shape[-2:]
        session = kind(
            self.network(channels),
            self.adapter,
            optimiser=optimiser.model_copy(update={"lr": 0.0}) if still else optimiser,
            statistics=statistics,
            target=Target(batch=len(like), size=(height, width)),
            recipe=RECIPES["weighted"],
            seed=0,
        )
        if begin is not None:
            session.begin_batch(0, begin)
        return session

    def trained(self, channels: Mapping[str, int] = CHANNELS) -> tuple[Net, State]:
        """Return the source model after a few iterations per phase, and its statistics.

        They are made once per set of tasks.
        """
        key = tuple(channels)
        if key not in self._trained:
            self._trained[key] = self._train(channels)
        return self._trained[key]

    def _train(self, channels: Mapping[str, int]) -> tuple[Net, State]:
        adapter, spec = self.adapter, self.spec(channels)
        net = build_net(spec, adapter).to(self.device)
        if trains_on_source(adapter):
            _train_briefly(net, spec, adapter, self.device)
        else:
            model, tasks = self.model.model_dump_json(), tuple(spec.tasks.items())
            net.model.load_state_dict(_supervised_weights(model, tasks, self.device))
        wanted = adapter.source_pass()
        images = STATISTICS_BATCHES * wanted.batch if wanted else 0
        statistics = measure_source(
            net,
            spec,
            adapter,
            RandomImages(spec.tasks, images, SOURCE_SIZE),
            target_size=TARGET_SIZE,
            progress=Silent(),
        )
        return net, statistics


def words(channels: Mapping[str, int]) -> str:
    """Return the tasks of a pair in words."""
    left_out = [task for task in CHANNELS if task not in channels]
    return f"pairs without {left_out[0]}" if left_out else "pairs with every task"


def model_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the network without their prefix `model.`."""
    own = {key: value for key, value in settings.items() if key.startswith(MODEL)}
    return {key.removeprefix(MODEL): value for key, value in own.items()}


def _require_sizes(model: ModelConfig) -> None:
    """Raise a BenchError if a network needs other arguments to take the images of the checks.

    A network for which no arguments are known is checked as it is.
    """
    for size in (SOURCE_SIZE, *SIZES):
        error, _ = attempt(forward_error, model, CHANNELS, size)  # checks report other problems
        if error is None:
            continue
        every = size_remedy(model, CHANNELS, (SOURCE_SIZE, *SIZES))
        if remedy := every or size_remedy(model, CHANNELS, [size]):
            raise BenchError(
                f"{model.label} cannot take images of {size[0]}x{size[1]}, which the checks use "
                f"({error}); use {remedy}"
            )


def _spec(model: ModelConfig, tasks: Mapping[str, int]) -> SourceSpec:
    return SourceSpec(
        domain="random",
        model=model,
        tasks=tasks,
        recipe="weighted",
        training=TRAINING,
        fingerprint="random",
        seed=0,
    )


def _train_briefly(net: Net, spec: SourceSpec, adapter: Adapter, device: torch.device) -> None:
    """Make a few iterations of every stage of source training."""
    dataset = RandomImages(spec.tasks, ITERATIONS * TRAINING_BATCH, SOURCE_SIZE)
    with torch.random.fork_rng():
        for stage in training_chain(spec, adapter):
            short = replace(stage, iterations=min(ITERATIONS, stage.iterations))
            run = StageRun(net, short, spec, device)
            for first in range(0, short.iterations * TRAINING_BATCH, TRAINING_BATCH):
                run.iterate(dataset.batch(range(first, first + TRAINING_BATCH)))


class _Supervised(Adapter):
    """Supervised source training without a method."""

    name = "base"

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return Plan(moves=(), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        raise NotImplementedError


@cache
def _supervised_weights(
    model: str, tasks: tuple[tuple[str, int], ...], device: torch.device
) -> State:
    """Return the weights that all methods without source training share; `model` is in JSON."""
    spec = _spec(ModelConfig.model_validate_json(model), dict(tasks))
    net = build_net(spec, _Supervised()).to(device)
    _train_briefly(net, spec, _Supervised(), device)
    return net.model.state_dict()
