"""The conformance kit: every registered method passes, and each check finds its violation."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from support.short_form import short_form
from support.toy import CARD, Drifting, Joint, Toy
from torch import Tensor, nn

from ttt_bench.adapt.session import Session
from ttt_bench.adapter import (
    Adapter,
    Context,
    Norm,
    Optimiser,
    Options,
    Passes,
    Plan,
    Quirk,
    SourceStep,
    StepOut,
    Target,
    option,
)
from ttt_bench.conformance import BACKBONE, CHECKS, assert_conforms, run_check
from ttt_bench.conformance.subject import Subject
from ttt_bench.errors import BenchError
from ttt_bench.model.batchnorm import running_statistics
from ttt_bench.network import Batch, Net
from ttt_bench.registry import METHODS

NARROW = {"tttpp": {"head_hidden": 32}}
"""Method -> options with which its check is fast."""


SHORT = ("base", "norm", "tent", "s4t", "cotta")
"""One method of each kind: what it trains on the source, what moves, and what it keeps."""


@pytest.mark.parametrize("name", short_form(METHODS.names(), SHORT))
def test_every_method_conforms(name: str) -> None:
    assert_conforms(METHODS.load(name), NARROW.get(name))


WITHOUT_BATCHNORM = [name for name in METHODS.names() if not METHODS.load(name)().needs().batchnorm]
"""Methods that work on a backbone without BatchNorm; a plan refuses the others."""


@pytest.mark.parametrize("name", ["ttt", "s4t"])  # `test_every_method_conforms_on_other_backbones`
def test_training_and_steps_fit_a_backbone_without_batchnorm(name: str) -> None:
    subject = Subject.create(METHODS.load(name), {}, "test_convnext", torch.device("cpu"))
    for check in ("source training", "shapes", "moves", "exact", "passes"):
        assert not run_check(check, subject).problem


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        *((name, "test_efficientnet") for name in METHODS.names()),
        *((name, "test_convnext") for name in WITHOUT_BATCHNORM),
    ],
)
def test_every_method_conforms_on_other_backbones(name: str, backbone: str) -> None:
    assert_conforms(METHODS.load(name), backbone=backbone)


MTI_NET = {"model.architecture": "mti_net"}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_conforms_on_mti_net(name: str) -> None:
    assert_conforms(METHODS.load(name), MTI_NET)


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_conforms_on_a_gpu(name: str) -> None:
    assert_conforms(METHODS.load(name), device="cuda")


def step_of(net: Net, images: Tensor) -> StepOut:
    """The toy's step: outputs pulled towards zero."""
    predictions = net.model(images)
    return StepOut(
        {"size": torch.stack([(p**2).mean() for p in predictions.values()]).sum()}, predictions
    )


class Mute(Toy):
    """Has no text for what moves, an undocumented option, and a quirk with an unknown option."""

    class Options(Options):
        loud: float = 1.0

    card = CARD.__class__(
        title="mute",
        paper="none",
        source_training="nothing",
        moves="",
        sizes="any",
        quirks=(Quirk("a", "b", "quiet=1"),),
    )


class Infinite(Joint):
    """Its auxiliary loss is not finite."""

    def source_loss(self, step: SourceStep) -> dict[str, Tensor]:
        return {"plain": super().source_loss(step)["plain"] * float("inf")}


class Cropped(Toy):
    """Predicts at another size than the images'."""

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return Plan(
            moves=("model.heads.*.bias",), adapt=Norm.RUNNING, predict=Norm.RUNNING, exact=False
        )

    def predict(self, net: Net, images: Tensor, ctx: Context) -> dict[str, Tensor]:
        return {task: p[..., :-1] for task, p in net.model(images).items()}


class Particular(Toy):
    """Works only on batches of two."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        first, second = images
        return step_of(net, torch.stack([first, second]))


class Undeclared(Toy):
    """Moves a parameter that its plan does not declare."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        with torch.no_grad():
            net.model.heads["depth"].weight.mul_(0.9)
        return step_of(net, images)


class Descending(Toy):
    """Makes a gradient step by hand."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = step_of(net, images)
        bias = net.model.heads["depth"].bias
        (gradient,) = torch.autograd.grad(out.losses["size"], [bias], retain_graph=True)
        bias.data -= gradient
        return out


class Hooking(Toy):
    """Adds a hook to the network with every batch."""

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        net.model.register_forward_hook(lambda *_: None)


class Forgetful(Toy):
    """Keeps its state in a Python attribute, which a reset does not restore."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.steps = 0

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        self.steps += 1
        losses, predictions, _ = step_of(net, images)
        return StepOut({"size": losses["size"] * self.steps}, predictions)


class Careless(Toy):
    """Draws from the global random state."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        losses, predictions, _ = step_of(net, images)
        return StepOut(
            {"size": losses["size"] * (1 + torch.rand(()).to(images.device))}, predictions
        )


class Peeking(Toy):
    """Finds the target labels in the frames of its callers."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        losses, predictions, _ = step_of(net, images)
        frame, seen = sys._getframe(), torch.zeros(())
        while frame.f_back is not None:
            frame = frame.f_back
            for value in frame.f_locals.values():
                if isinstance(value, Batch):
                    seen = value.targets["depth"].mean()
        return StepOut({"size": losses["size"] + seen}, predictions)


class Boasting(Drifting):
    """Claims that predictions with batch statistics equal those with running statistics."""

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        return Plan(moves=("model.*",), adapt=Norm.BATCH, predict=Norm.RUNNING, exact=True)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return step_of(net, images)


class Understating(Toy):
    """Makes two forward passes and states one."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        step_of(net, images)
        return step_of(net, images)


class Hoarding(Toy):
    """Keeps every loss, with the graph behind it."""

    kept: ClassVar[list[Tensor]] = []

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = step_of(net, images)
        self.kept.append(out.losses["size"])
        return out


class Overwriting(Toy):
    """Normalises the images in place."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        return step_of(net, images.sub_(0.01))


class Deciding(Toy):
    """Branches on the loss's value."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        losses, predictions, _ = step_of(net, images)
        return StepOut(
            {"size": losses["size"] * (2 if losses["size"].item() > 1 else 1)}, predictions
        )


class Impatient(Toy):
    """Calls `backward` itself."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = step_of(net, images)
        out.losses["size"].backward(retain_graph=True)
        return out


class Leaking(Toy):
    """Keeps its state in a buffer, but also the loss of the first batch in an attribute."""

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        module = nn.Module()
        module.register_buffer("offset", torch.zeros(()))
        return module

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        losses, predictions, _ = step_of(net, images)
        offset = net.extra.get_buffer("offset")  # type: ignore[union-attr]
        if not hasattr(self, "first"):
            self.first = losses["size"].detach()
        offset.copy_(self.first)
        return StepOut({"size": losses["size"] + offset}, predictions)


class Unfenced(Toy):
    """Switches gradients off for the whole process once a batch is done."""

    def end_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        torch.set_default_dtype(torch.float64)


class Patching(Toy):
    """Replaces a layer's code when it is bound."""

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        nn.BatchNorm2d.forward = lambda layer, x: x  # type: ignore[method-assign]
        return super().bind(net, statistics, target)


BROKEN: dict[str, tuple[type[Adapter], str]] = {
    "description": (Mute, "the card has no text for moves"),
    "source training": (Infinite, "the loss is nan"),
    "shapes": (Cropped, "`predict` of toy returns a prediction of semseg of shape"),
    "batch sizes": (Particular, "ValueError: not enough values to unpack"),
    "moves": (
        Undeclared,
        r"model\.heads\.depth\.weight changed .*, but `moves` does not declare it",
    ),
    "updates": (Descending, "`step` changes .* without the harness's optimiser"),
    "network": (Hooking, r"changes the network's hooks while adapting \(model\)"),
    "reset": (Forgetful, r"keeps values of earlier batches in self\.steps"),
    "resuming": (
        Leaking,
        "a run that was interrupted between two batches and resumed gives other numbers",
    ),
    "seeds": (Careless, "draws from the global random state"),
    "labels": (Peeking, "labels are read"),
    "exact": (Boasting, "claims exact predictions, but the .* of a step differs"),
    "passes": (
        Understating,
        "states passes of 2 images forward and 0 backward up to stage 4; counted 4 and 0",
    ),
    "memory": (Hoarding, "uses more memory with every batch"),
    "inputs": (Overwriting, "changes the images that it is given"),
    "host": (Deciding, "`step` needs values on the host"),
    "descent": (Impatient, "a step calls `backward`"),
    "process": (Unfenced, "adapting with method toy changes .* the default dtype from"),
}


def subject_of(method: type[Adapter]) -> Subject:
    return Subject.create(method, {}, BACKBONE, torch.device("cpu"))


def test_every_check_has_a_method_that_breaks_it() -> None:
    assert BROKEN.keys() == CHECKS.keys()


@pytest.mark.parametrize("check", BROKEN)
def test_a_broken_method_is_noticed_for_what_is_broken(check: str) -> None:
    method, message = BROKEN[check]
    assert re.search(message, run_check(check, subject_of(method)).problem)


class Sneaking(Toy):
    """Changes the running statistics that it normalises with; `begin_batch` may not either."""

    def begin_batch(self, net: Net, images: Tensor, ctx: Context) -> None:
        pass

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        out = step_of(net, images)
        for statistics in running_statistics(net.model).values():
            statistics.add_(0.01)
        return out


class Untrained(Joint):
    """Adds two modules and trains one of them."""

    def build(self, model: nn.Module, tasks: Mapping[str, int]) -> nn.Module:
        return nn.ModuleDict({"used": super().build(model, tasks), "idle": nn.Linear(2, 2)})

    def source_loss(self, step: SourceStep) -> dict[str, Tensor]:
        used = Net(step.net.model, step.net.extra["used"])
        return super().source_loss(replace(step, net=used))


class Choosing(Toy):
    """Selects the positive outputs by a mask."""

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        losses, predictions, _ = step_of(net, images)
        depth = predictions["depth"]  # type: ignore[index]
        return StepOut({"size": losses["size"] + depth[depth > 0].sum()}, predictions)


@pytest.mark.parametrize(
    ("check", "method", "message"),
    [
        (
            "moves",
            Sneaking,
            "running_mean.* changed in or before `step`, but buffers of the model change only",
        ),
        (
            "source training",
            Untrained,
            r"declares to train extra\.idle, but no auxiliary loss has a gradient there",
        ),
        ("host", Choosing, "index by a mask"),
        ("process", Patching, r"`bind` of method toy changes .* torch\.nn\.BatchNorm2d\.forward"),
    ],
)
def test_a_subtler_breach_is_noticed_too(check: str, method: type[Adapter], message: str) -> None:
    assert re.search(message, run_check(check, subject_of(method)).problem)


@pytest.mark.parametrize("method", [Toy, Drifting, Joint])
def test_a_sound_method_passes(method: Any) -> None:
    assert_conforms(method)


class Compiling(Toy):
    """Compiles a function of its module in `bind`, and keeps it."""

    def bind(self, net: Net, statistics: Mapping[str, Tensor], target: Target) -> Plan:
        self.compiled = torch.compile(step_of, backend="eager")
        return super().bind(net, statistics, target)


def test_a_compiled_function_is_not_taken_for_values_of_earlier_batches() -> None:
    assert not run_check("reset", subject_of(Compiling)).problem


@pytest.mark.parametrize("method", [Unfenced, Patching])
def test_a_method_that_changes_the_process_leaves_the_next_one_undisturbed(method: Any) -> None:
    assert not run_check("process", subject_of(method)).passed
    for check in ("moves", "seeds", "process"):
        assert run_check(check, subject_of(Toy)).passed


def test_all_checks_take_the_options() -> None:
    with pytest.raises(BenchError, match="no_such_option"):
        assert_conforms(Toy, {"no_such_option": 1})


def test_every_broken_rule_is_named() -> None:
    with pytest.raises(
        AssertionError,
        match=r"toy, moves: .*model\.heads\.depth\.weight changed in or before `step`",
    ):
        assert_conforms(Undeclared)


def test_a_check_that_fails_in_the_plugin_names_the_place() -> None:
    assert "test_conformance.py" in run_check("batch sizes", subject_of(Particular)).problem


class Costly(Toy):
    """Makes as many forward passes as an option says, and states them."""

    class Options(Options):
        images: int = option(2, "how often the images are seen", citation="this test", ge=1)

    def passes(self, batch: int) -> Passes:
        return Passes(self.options.images * batch, 0)

    def step(self, net: Net, images: Tensor, ctx: Context) -> StepOut:
        for _ in range(self.options.images - 1):
            net.model.stages(images)
        return step_of(net, images)


@pytest.mark.parametrize("images", [1, 3])
def test_options_are_checked_with_the_method(images: int) -> None:
    subject = Subject.create(Costly, {"images": images}, BACKBONE, torch.device("cpu"))
    assert subject.adapter.options.images == images
    assert not run_check("passes", subject).problem


def captured(session: Session, images: Tensor, steps: int) -> None:
    """Adapt by replaying one step that was recorded as a CUDA graph."""
    session.begin_batch(0, images)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # the set-up of a first call must not be recorded
        for _ in range(3):
            session.adapt(images)
    torch.cuda.current_stream().wait_stream(side)
    session.reset()
    for parameter in session.moved.values():
        parameter.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        session.adapt(images)
    session.reset()
    for _ in range(steps):
        graph.replay()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["tent", "tttflow", "clust3", "actmad", "nc_ttt"])
def test_a_step_can_be_captured_as_a_cuda_graph(name: str) -> None:
    subject = Subject.create(METHODS.load(name), {}, BACKBONE, torch.device("cuda"))
    settings = replace(subject.settings, optimiser=Optimiser(lr=1e-3))
    images, (one, other) = (
        subject.images(),
        (replace(subject, settings=settings).session() for _ in range(2)),
    )
    one.begin_batch(0, images)
    for _ in range(3):
        one.adapt(images)
    captured(other, images, 3)
    for key, value in one.net.state_dict().items():
        torch.testing.assert_close(
            other.net.state_dict()[key],
            value,
            rtol=1e-3,
            atol=1e-4,
            msg=lambda m, k=key: f"{k}: {m}",
        )
