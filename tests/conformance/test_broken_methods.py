"""Methods that break one rule each: the check that notices it, and what it says."""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from support.toy import Toy
from torch import Tensor, nn

from ttt_bench.adapter import Adapter, Context, Norm, Passes, Plan, StepOut, Target
from ttt_bench.conformance import BACKBONE, run_check
from ttt_bench.conformance.subject import Subject
from ttt_bench.model import BATCH_NORMS
from ttt_bench.network import Net


def problem(check: str, method: type[Adapter]) -> str:
    """Return the problem that a check finds."""
    return run_check(check, Subject.create(method, {}, BACKBONE, torch.device("cpu"))).problem


def scaled(out: StepOut, factor: Any) -> StepOut:
    """Return a step's result with its loss multiplied."""
    return StepOut({"size": out.losses["size"] * factor}, out.predictions)


def bias(net: Net) -> nn.Parameter:
    """Return a parameter that the toy declares."""
    parameter = net.model.heads.get_submodule("depth").bias
    assert isinstance(parameter, nn.Parameter)
    return parameter


class Inexact(Toy):
    """A toy that predicts separately."""

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return replace(super().bind(net, statistics, target), exact=False)


# -- what moves


class MovesInPredict(Inexact):
    def predict(self, net: Net, images: Tensor, ctx: Context) -> dict[str, Tensor]:
        bias(net).mul_(0.99)
        return net.model(images)


class MovesInPredictByData(Inexact):
    def predict(self, net: Net, images: Tensor, ctx: Context) -> dict[str, Tensor]:
        bias(net).data += 0.01
        return net.model(images)


class MovesInBeginBatch(Toy):
    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        bias(net).add_(images.mean())


class MovesInEndBatch(Toy):
    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        bias(net).add_(images.mean())


class MovesInBind(Toy):
    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        with torch.no_grad():
            bias(net).add_(0.1)
        return super().bind(net, statistics, target)


class MovesBackboneInBind(Toy):
    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        with torch.no_grad():
            next(net.model.backbone.parameters()).mul_(1.01)
        return super().bind(net, statistics, target)


class ChangesBuffersInPredict(Inexact):
    def predict(self, net: Net, images: Tensor, ctx: Context) -> dict[str, Tensor]:
        net.model.mean.add_(0.001)
        return net.model(images)


class DescendsByHand(Toy):
    """Makes one gradient step more than the harness does, and states its passes."""

    def passes(self, batch: int) -> Passes:
        return Passes(2 * batch, 0)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        loss = super().step(net, images, ctx).losses["size"]
        (gradient,) = torch.autograd.grad(loss, [bias(net)])
        with torch.no_grad():
            bias(net).sub_(1e-3 * gradient)
        return super().step(net, images, ctx)


class DescendsInPlace(Toy):
    """Changes a weight between its forward pass and the gradient of its loss."""

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return replace(super().bind(net, statistics, target), moves=("model.*",))

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        with torch.no_grad():
            [one for one in net.model.backbone.parameters() if one.dim() == 4][-1].mul_(0.99)
        return out


class MovesBackboneInAfterStep(Toy):
    def after_step(self, net: Net, images: Tensor, ctx: Context) -> None:
        next(net.model.backbone.parameters()).mul_(1.01)


class DescendsByLeftGradients(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        gradient = bias(net).grad
        if gradient is not None:
            bias(net).data.add_(gradient, alpha=-1e-3)
        return super().step(net, images, ctx)


class DescendsByAnOptimiser(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        loss = super().step(net, images, ctx).losses["size"]
        bias(net).grad = torch.autograd.grad(loss, [bias(net)])[0]
        torch.optim.SGD([bias(net)], lr=1e-3).step()
        return super().step(net, images, ctx)


class Restores(Toy):
    """Pulls its weights back to those of the source, as CoTTA does: sound."""

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        module = nn.Module()
        module.register_buffer("source", torch.zeros(1))
        return module

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        if bias(net).device.type != "meta":
            net.extra.get_buffer("source").copy_(bias(net).detach())  # type: ignore[union-attr]
        return super().bind(net, statistics, target)

    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        restored = ctx.rand(1) < 0.5
        bias(net).copy_(torch.where(restored, net.extra.get_buffer("source"), bias(net)))  # type: ignore[union-attr]


# -- what is kept


class KeepsImages(Toy):
    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.seen: list[Tensor] = []

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        self.seen.append(images)


class KeepsLastImages(Toy):
    last: Tensor = torch.ones(())

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return scaled(super().step(net, images, ctx), self.last.mean())

    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        self.last = images.clone()


class CountsSteps(Toy):
    steps = 0

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        self.steps += 1
        return super().step(net, images, ctx)


class CountsInItsClass(Toy):
    steps = 0

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        CountsInItsClass.steps += 1
        return super().step(net, images, ctx)


SEEN: list[float] = []


class KeepsInAGlobal(Toy):
    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        SEEN.append(0.0)


class KeepsTheFirstValue(Toy):
    """Keeps the first batch's mean for the whole process."""

    first: ClassVar[Tensor | None] = None

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        if KeepsTheFirstValue.first is None:
            KeepsTheFirstValue.first = images.mean()
        return scaled(super().step(net, images, ctx), KeepsTheFirstValue.first)


class KeepsInADefault(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context, seen: Any = [0]) -> StepOut:  # noqa: B006
        seen[0] += 1
        return super().step(net, images, ctx)


class KeepsOnAModule(Toy):
    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        module = nn.Module()
        module.seen = 0  # type: ignore[assignment]
        return module

    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        net.extra.seen += 1  # type: ignore[union-attr,operator]


@dataclass
class Memory:
    """An object of a plugin that holds state."""

    last: float = 0.0


class KeepsInAnObject(Toy):
    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.memory = Memory()

    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        self.memory.last += 1


class KeepsAGenerator(Toy):
    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.random = random.Random(0)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return scaled(super().step(net, images, ctx), self.random.random())


class KeepsTheFirstOfABatch(Toy):
    """Keeps the first loss of each batch in the place for values of a batch: sound."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        first = ctx.batch.setdefault("first", out.losses["size"].detach())
        return scaled(out, first)


class KeepsTheFirstOnItself(Toy):
    """Keeps the first loss of each batch as an attribute: right between batches, but not within."""

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        self.first: Tensor | None = None

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        if self.first is None:
            self.first = out.losses["size"].detach()
        return scaled(out, self.first)


@cache
def table(height: int, width: int) -> Tensor:
    """Return a constant of images of one size."""
    return torch.linspace(0, 1, width).repeat(height, 1)


TABLES: dict[tuple[int, ...], Tensor] = {}


class KeepsConstants(Toy):
    """Keeps constants that depend on sizes alone, in a global, a cache and an attribute: sound."""

    kernel: ClassVar[Tensor | None] = None

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        size = tuple(images.shape[-2:])
        TABLES.setdefault(size, torch.ones(size))
        self.table = table(*size)
        if KeepsConstants.kernel is None:
            KeepsConstants.kernel = torch.ones(3)
        return scaled(super().step(net, images, ctx), 1 + TABLES[size].mean() + self.table.mean())


# -- the network


class StaysInTrainMode(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        net.model.train()
        return super().step(net, images, ctx)


class Unfreezes(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        net.model.requires_grad_()
        return super().step(net, images, ctx)


class ReplacesAParameter(Toy):
    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        head = net.model.heads.get_submodule("depth")
        head.bias = nn.Parameter(bias(net).detach().clone())


class ReplacesAModule(Toy):
    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        net.model.heads.add_module("depth", net.model.heads.get_submodule("edge"))


class AddsAModule(Toy):
    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        net.add_module("late", nn.Identity())


class AddsABuffer(Toy):
    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        return nn.Module()

    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        net.extra.register_buffer("bank", images.mean(0))  # type: ignore[union-attr]


class AddsHooks(Toy):
    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        net.model.register_forward_hook(lambda *_: None)


class Halves(Toy):
    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        module = nn.Module()
        module.register_buffer("bank", torch.zeros(2))
        return module

    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        net.extra.half()  # type: ignore[union-attr]


class ChangesMomentum(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        for module in net.model.modules():
            if isinstance(module, BATCH_NORMS):
                module.momentum = 0.5
        return super().step(net, images, ctx)


class AveragesBuffers(Toy):
    """Keeps a moving average in a buffer that it assigns, and restores modes: sound."""

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        module = nn.Module()
        module.register_buffer("average", torch.zeros(()))
        return module

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = super().step(net, images, ctx)
        net.extra.average = 0.9 * net.extra.average + 0.1 * out.losses["size"].detach()  # type: ignore[union-attr]
        net.model.train()
        net.model.eval()
        ctx.norms.set(Norm.RUNNING)  # type: ignore[attr-defined]
        return out


# -- what the numbers depend on


class DrawsFromNumpy(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return scaled(super().step(net, images, ctx), np.random.rand())


class DrawsFromPython(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return scaled(super().step(net, images, ctx), random.random())


class ReadsTheClock(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return scaled(super().step(net, images, ctx), 1 + time.time() % 10**8 // 10**5)


class ReadsAFolder(Toy):
    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        import os
        from zlib import crc32

        # not the length: a temporary folder's path may be as long as that of the checkout
        return scaled(super().step(net, images, ctx), 1 + crc32(os.getcwd().encode()) / 2**32)


class LeavesThreads(Toy):
    stop: ClassVar[threading.Event] = threading.Event()

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        threading.Thread(target=self.stop.wait, daemon=True).start()


# -- predictions


class PredictsInHalf(Inexact):
    def predict(self, net: Net, images: Tensor, ctx: Context) -> dict[str, Tensor]:
        return {task: output.half() for task, output in net.model(images).items()}


KEPT = "keeps values of earlier batches in {}, which a reset does not restore"
BROKEN: dict[type[Adapter], tuple[str, str]] = {
    MovesInPredict: ("updates", r"`predict` changes model\.heads\.depth\.bias without the harness"),
    MovesInPredictByData: ("moves", r"`predict` changes model\.heads\.depth\.bias"),
    MovesInBeginBatch: ("updates", "`begin_batch` changes model"),
    MovesInEndBatch: ("updates", "`end_batch` changes model"),
    MovesInBind: ("moves", r"`bind` changes model\.heads\.depth\.bias: step 0 must be"),
    MovesBackboneInBind: ("moves", r"`bind` changes model\.backbone"),
    ChangesBuffersInPredict: ("moves", r"model\.mean changed in or before `predict`"),
    DescendsByHand: ("updates", "`step` changes .* return a loss, and leave the update"),
    DescendsByLeftGradients: ("updates", "`step` changes"),
    DescendsInPlace: ("updates", r"`step` changes model\.backbone.* without the harness"),
    MovesBackboneInAfterStep: ("updates", r"`after_step` changes model\.backbone"),
    DescendsByAnOptimiser: ("descent", "a step calls an optimiser"),
    KeepsImages: ("memory", "uses more memory with every batch"),
    KeepsLastImages: ("reset", "a run after a reset gives other numbers than a new one"),
    CountsSteps: ("reset", KEPT.format(r"self\.steps")),
    CountsInItsClass: ("reset", KEPT.format(r"CountsInItsClass\.steps")),
    KeepsInAGlobal: ("reset", KEPT.format(r".*test_broken_methods\.SEEN")),
    KeepsTheFirstValue: ("reset", KEPT.format(r"KeepsTheFirstValue\.first")),
    KeepsInADefault: ("reset", KEPT.format(r"KeepsInADefault\.step")),
    KeepsOnAModule: ("reset", KEPT.format(r"net\.extra\.seen")),
    KeepsInAnObject: ("reset", KEPT.format(r"self\.memory")),
    KeepsAGenerator: ("reset", KEPT.format(r"self\.random")),
    StaysInTrainMode: (
        "network",
        r"changes the network's modes while adapting \(.*model.*ctx\.norm",
    ),
    Unfreezes: ("network", "changes the network's gradients"),
    ReplacesAParameter: ("network", r"network's parameters .*\(model\.heads\.depth\.bias\)"),
    ReplacesAModule: ("network", "network's (modules|parameters)"),
    AddsAModule: ("network", r"network's modules .*\(late\); add and replace modules in `build`"),
    AddsABuffer: ("network", r"network's buffers .*\(extra\.bank\); register buffers in `build`"),
    AddsHooks: ("network", r"network's hooks .*\(model\); register hooks in `bind`"),
    Halves: ("network", r"network's buffers .*\(extra\.bank\)"),
    ChangesMomentum: ("network", r"network's attributes .*momentum"),
    DrawsFromNumpy: ("seeds", "draws from the global random state of numpy; use `ctx.rand`"),
    DrawsFromPython: ("seeds", "draws from the global random state of Python's `random`"),
    ReadsTheClock: ("seeds", "is not reproducible"),
    ReadsAFolder: ("seeds", "is not reproducible"),
    LeavesThreads: ("memory", "leaves 3 threads running"),
    PredictsInHalf: ("shapes", r"are not float32: .*torch\.float16"),
}


@pytest.mark.parametrize("method", BROKEN, ids=lambda method: method.__name__)
def test_a_broken_method_is_noticed(method: type[Adapter]) -> None:
    check, message = BROKEN[method]
    assert re.search(message, problem(check, method))


@pytest.mark.parametrize(
    "method", [Restores, KeepsConstants, AveragesBuffers, KeepsTheFirstOfABatch]
)
def test_a_sound_method_passes_the_checks_of_its_kind(method: type[Adapter]) -> None:
    subject = Subject.create(method, {}, BACKBONE, torch.device("cpu"))
    checks = ("moves", "updates", "network", "seeds", "reset", "resuming", "memory")
    assert {check: run_check(check, subject).problem for check in checks} == dict.fromkeys(
        checks, ""
    )


def test_an_update_by_hand_names_the_step_in_every_check_that_it_stops() -> None:
    problems = problem("moves", DescendsInPlace), problem("shapes", DescendsInPlace)
    assert all("`step` of toy overwrites values that the gradient" in one for one in problems)
