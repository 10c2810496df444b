"""A toy data set, toy methods and a quick preset: small enough for a test, complete enough for
the whole line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ttt_bench.adapter import (
    Adapter,
    Card,
    Context,
    Needs,
    Norm,
    Options,
    Passes,
    Phase,
    Plan,
    SourceStep,
    StepOut,
    Target,
    option,
)
from ttt_bench.config.preset import ModelConfig, TrainingSettings
from ttt_bench.data.base import Dataset
from ttt_bench.network import Batch, Net
from ttt_bench.train.chain import SourceSpec

TASKS = {"semseg": 3, "depth": 1, "normals": 3, "edge": 1}
MODEL = ModelConfig(backbone="test_resnet")


class ToyDataset(Dataset):
    """Random images with random targets; a few pixels of every target are ignored."""

    def __init__(self, images: int = 12, size: tuple[int, int] = (32, 32), seed: int = 0) -> None:
        self.domain, self.size, self.tasks, self.fingerprint = (
            "toy",
            size,
            tuple(TASKS),
            f"toy-{images}-{size}-{seed}",
        )
        draw = torch.Generator().manual_seed(seed)
        height, width = size
        self.images = torch.rand(images, 3, height, width, generator=draw)
        semseg = torch.randint(0, 3, (images, height, width), generator=draw)
        semseg[:, 0] = 255
        normals = nn.functional.normalize(
            torch.randn(images, 3, height, width, generator=draw), dim=1
        )
        normals[:, :, 1] = 255
        self.targets = {
            "semseg": semseg,
            "depth": 1 + torch.rand(images, 1, height, width, generator=draw),
            "normals": normals,
            "edge": (torch.rand(images, 1, height, width, generator=draw) < 0.1).float(),
        }
        self.reads = 0

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, indices: Sequence[int]) -> Batch:
        self.reads += 1
        rows = torch.as_tensor(list(indices))
        return Batch(
            self.images[rows], {task: target[rows] for task, target in self.targets.items()}
        )


def spec(
    seed: int = 0, shared: int = 4, iterations: int = 3, recipe: str = "weighted"
) -> SourceSpec:
    """Return a source spec that trains in a second."""
    training = TrainingSettings(
        batch=4,
        shared_iterations=shared,
        iterations=iterations,
        shared_lr=1e-3,
        lr=1e-3,
        weight_decay=0.0,
    )
    return SourceSpec(
        domain="toy",
        model=MODEL,
        tasks=TASKS,
        recipe=recipe,
        training=training,
        fingerprint="toy",
        seed=seed,
    )


CARD = Card(
    title="a toy", paper="none", source_training="nothing", moves="the heads' biases", sizes="any"
)


class Toy(Adapter):
    """Pulls every output towards zero by moving the heads' biases; exact."""

    name = "toy"
    card = CARD

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return Plan(
            moves=("model.heads.*.bias",), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=True
        )

    def passes(self, batch: int) -> Passes:
        return Passes(batch, 0)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        predictions = net.model(images)
        return StepOut({"size": sum((p**2).mean() for p in predictions.values())}, predictions)  # type: ignore[dict-item]


class Drifting(Toy):
    """Adapts under moving statistics with random inputs, and predicts under the moved ones; not
    exact.
    """

    name = "drifting"

    def needs(self) -> Needs:
        return Needs(tasks=frozenset({"depth"}))

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return Plan(moves=("model.*",), adapt=Norm.EMA, predict=Norm.RUNNING, exact=False)

    def passes(self, batch: int) -> Passes:
        return Passes(batch, batch)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        noisy = images + 0.1 * ctx.rand(*images.shape)
        return StepOut({"size": (net.model(noisy)["depth"] ** 2).mean()}, None)


class Exploding(Toy):
    """Its loss is not a number from the third step of a batch on."""

    name = "exploding"

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        counter = nn.Module()
        counter.register_buffer("steps", torch.zeros(()))
        return counter

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        steps = net.extra.get_buffer("steps")  # type: ignore[union-attr]
        loss = out.losses["size"] / (steps < 2).float() * 1.0
        steps.add_(1)
        return StepOut({"size": loss}, out.predictions)


class JointOptions(Options):
    """Options of `Joint`."""

    strength: float = option(
        0.5, "weight of the auxiliary term", citation="this test", shapes_source=True, ge=0
    )
    late: float = option(1.0, "used at test only", citation="this test")


class Joint(Toy):
    """Train a custom source model: a term of a task, a plain term, and an unsupervised phase."""

    name = "joint"
    Options = JointOptions
    second_phase = False

    def needs(self) -> Needs:
        return Needs(tasks=frozenset({"depth"}))

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        return nn.Linear(model.channels[0], 1)  # type: ignore[index]

    def phases(self) -> tuple[Phase, ...]:
        joint = Phase(name="joint", trains=("model", "extra"))
        return (
            (joint, Phase(name="late", trains=("extra",), supervised=False))
            if self.second_phase
            else (joint,)
        )

    def source_loss(self, step: SourceStep) -> dict[str, Tensor]:
        supervised = step.phase.supervised
        stages = step.stages if supervised else step.net.model.stages(step.batch.images, last=1)
        pooled = step.net.extra(stages[0].mean(dim=(2, 3)))
        if not supervised:
            return {"late": (pooled**2).mean()}
        return {
            "aux/depth": self.options.strength * step.predictions["depth"].mean() ** 2,
            "plain": (pooled**2).mean(),
        }


def source_terms(
    method: Adapter,
    net: Net,
    batch: Batch,
    ctx: Context,
    *,
    stages: Sequence[Tensor] = (),
    phase: Phase | None = None,
) -> dict[str, Tensor]:
    """Return the terms of `source_loss` in a phase (default: the method's first one)."""
    step = SourceStep(
        net=net,
        batch=batch,
        stages=list(stages),
        predictions={},
        phase=phase or method.phases()[0],
        ctx=ctx,
    )
    return method.source_loss(step)


def values(net: nn.Module) -> dict[str, Any]:
    """Return a copy of a network's state."""
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Return whether two states are equal bit for bit."""
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
