"""The one interface that a method author has to read.

A method is one class in one file. It declares its requirements, the extra modules it adds, its
part in source training, the parameters that move at test time, and the loss of one adaptation
step. The harness does everything else: the loop, the optimiser, normalisation modes, grad mode,
resetting, scoring, timing and checkpoints. A method never sees target labels, paths or indices.

The contract (`docs/adding-a-method.md` has a worked example):

* `net.model` is the shared multi-task network (`ttt_bench.network.Network`). `net.extra` is what
  `build` returned.
* Before `step`, the harness sets the model's BatchNorm layers to `plan.adapt`; before `predict`, to
  `plan.predict`. Extra modules are in eval mode at test time unless `bind` changes that.
* `step` returns losses. The harness sums them, updates the parameters, and calls `after_step`. Then
  it calls `step` again. A step may call `torch.autograd.grad`, never `backward` or an optimiser.
* State has three places. What changes between steps and outlives a batch (a memory, a moving
  average, a teacher) is a parameter or a buffer of `net`, registered in `build` or `bind` with its
  final shape. What belongs to one batch is in `ctx.batch`. What never changes after `bind` (source
  statistics, hooks) may be kept on the adapter. A reset restores the moved parameters, the buffers
  and the optimiser in place, empties `ctx.batch` and seeds the streams again; a resumed run
  continues with all of them, and so does a shard.
* The state of the process is shared by all methods: grad mode, default dtype and device, autocast,
  threads, hooks of all modules, the code of layers. A method that leaves it changed fails. Hooks on
  layers of `net`, and contexts that are left again, are allowed.
* Random numbers come from `ctx`, seeded by (seed, method, batch), so that the order of batches does
  not matter. Draws of different purposes come from different streams, `ctx.stream(name)`. `build`
  runs under a seeded global generator.
* A step makes no decision on the host that depends on tensor values (no `.item()`, no such shape).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, NamedTuple, cast

import torch
from torch import Tensor
from typing_extensions import TypeVar

from ttt_bench.declarations.card import Card as Card
from ttt_bench.declarations.card import Quirk as Quirk
from ttt_bench.declarations.settings import PAPER as PAPER
from ttt_bench.declarations.settings import EmaOptions as EmaOptions
from ttt_bench.declarations.settings import Hparams as Hparams
from ttt_bench.declarations.settings import Optimiser as Optimiser
from ttt_bench.declarations.settings import Options as Options
from ttt_bench.declarations.settings import option as option
from ttt_bench.losses import Recipe
from ttt_bench.network import STAGES, Batch, ExtraT, Net, Network


class Norm(StrEnum):
    """Behaviour of the model's BatchNorm layers in a forward pass."""

    RUNNING = "running"
    """Normalise with the stored running statistics (eval mode)."""
    BATCH = "batch"
    """Normalise with the statistics of the batch; the stored ones do not change."""
    EMA = "ema"
    """Normalise with the statistics of the batch, and update the stored ones (train mode)."""
    MIX = "mix"
    """Normalise with (1 - a) stored + a batch; a is `Plan.share`; the stored ones do not change.

    The variance of the batch is the unbiased one, and the statistics have no gradient.
    """
    ROBUST = "robust"
    """Update the stored statistics, then normalise with the updated ones.

    Their momentum is `norm_momentum`, and the variance of the batch is the biased one. The
    gradient flows through the share of the batch.
    """


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Requirements of a method, checked when a run is planned.

    Attributes:
        tasks: tasks that the pair must have.
        protocols: names of the protocols that the method is defined for; empty for all.
        batch: number of images that every batch must have, or None for any.
        min_batch: smallest allowed number of images in a batch.
        min_side: smallest allowed length in pixels of the shorter side of the target's images.
        batchnorm: whether the network must have BatchNorm layers.
        affine: whether the network must have any normalisation layers with scale and shift.
    """

    tasks: frozenset[str] = frozenset()
    protocols: frozenset[str] = frozenset()
    batch: int | None = None
    min_batch: int = 1
    min_side: int = 1
    batchnorm: bool = False
    affine: bool = False


@dataclass(frozen=True, kw_only=True)
class Target:
    """Facts about the target that are known before adapting.

    Attributes:
        batch: largest number of images in a batch.
        size: (H, W) of the images, in pixels.
    """

    batch: int
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Behaviour of a method at test time.

    Attributes:
        moves: names or patterns (`fnmatch`) of the parameters of `net` that may move. If empty,
            `step` is never called and the trajectory consists of one prediction.
        adapt: normalisation of the model during `step`.
        predict: normalisation of the model during `predict`.
        exact: whether the predictions that `step` returns equal those that `predict` returns with
            the same weights.
        share: weight of the batch in [0, 1] under `Norm.MIX`; n / (N + n) for a batch of n images
            and a prior of N images (Schneider et al., NeurIPS 2020).
    """

    moves: tuple[str, ...]
    adapt: Norm
    predict: Norm
    exact: bool
    share: float | None = None


class StepOut(NamedTuple):
    """Result of one adaptation step.

    Attributes:
        losses: scalar losses by name; the harness minimises their sum.
        predictions: task -> (B, K, H, W) by the weights before the update; None if no heads run.
        update: a bool tensor of shape (), or None for true. If it is false (no reliable sample,
            not the n-th batch), there is no backward pass, and neither the parameters nor the
            optimiser change. The harness reads it after the step, so a step that returns one waits
            for the device.
    """

    losses: dict[str, Tensor]
    predictions: dict[str, Tensor] | None
    update: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase of source training.

    Attributes:
        name: name shown to the user; `SHARED` is Base's supervised training.
        trains: "model", "extra", or both. The other part is in eval mode.
        supervised: whether the objective contains the task losses.
        iterations: number of iterations, or None for the preset's number.
        optimiser: optimiser settings, or None for the preset's Adam.
        schedule: decay of the learning rate to 0: S4T's "polynomial", or "cosine" (half a period).
    """

    name: str
    trains: tuple[str, ...] = ("model",)
    supervised: bool = True
    iterations: int | None = None
    optimiser: Optimiser | None = None
    schedule: Literal["polynomial", "cosine"] = "polynomial"


SHARED = Phase(name="shared")


@dataclass(frozen=True, kw_only=True)
class SourcePass:
    """Source training images that `Adapter.source_statistics` reads.

    Attributes:
        images: largest number of images; they are drawn by the seed and not augmented.
        batch: images per batch. The last batch may have fewer images, but at least two.
        at_target_size: whether the images are resized (bilinear) to the size of the target's.
    """

    images: int = 4096
    batch: int = 8
    at_target_size: bool = False


class Passes(NamedTuple):
    """Cost of one adaptation step in images that pass through the backbone.

    A separate prediction is not counted. An image of another size than the target's counts by its
    area.

    Attributes:
        forwards: images in forward passes.
        backwards: images in backward passes.
        stages: last stage that the passes reach.
    """

    forwards: float
    backwards: float
    stages: int = STAGES


class Draws(ABC):
    """A stream of random numbers, seeded by (seed, method, batch) and its name.

    Draws of one stream depend on the earlier draws of that stream, and on no other stream.
    """

    @property
    @abstractmethod
    def generator(self) -> torch.Generator:
        """The stream's CPU generator; its numbers are the same on all devices."""

    @abstractmethod
    def rand(self, *shape: int) -> Tensor:
        """Draw uniform numbers in [0, 1) from `generator`; return them on the network's device."""

    @abstractmethod
    def uniform_like(self, x: Tensor) -> Tensor:
        """Draw uniform numbers in [0, 1) of the shape of `x`, on its device.

        Faster than `rand` for feature maps; the numbers differ between kinds of devices.
        """

    @abstractmethod
    def normal_like(self, x: Tensor) -> Tensor:
        """Draw standard normal numbers of the shape of `x`; see `uniform_like`."""


class Context(Draws):
    """Services of the harness: random numbers, losses and normalisation modes.

    `ctx.rand` and its siblings draw from the main stream. Each hook (`begin_batch`, `step`,
    `predict`, ...) has its own streams, so that drawing more in one moves no number of another.
    """

    recipe: Recipe
    """The loss recipe: the source's during training, the target's during adaptation."""
    source_recipe: Recipe
    """The source's loss recipe."""
    batch: dict[str, Tensor]
    """Values of the current batch, by names that the method chooses; empty at its beginning.

    Shapes may depend on the batch. Put new tensors into it, without gradients; a run that is
    resumed within a batch finds them again.
    """
    valid: Tensor | None
    """True where a pixel is of the picture and not padding, (B, 1, H, W); None if all are.

    It belongs to the images of the current batch.
    """

    @abstractmethod
    def stream(self, name: str) -> Draws:
        """Return the stream of a name, for draws of one purpose, such as `stream("mask")`.

        Draws of different purposes belong in different streams: then a further draw for one of them
        leaves the numbers of the others as they are.
        """

    @abstractmethod
    def norm(
        self, mode: Norm, stats: Mapping[str, Tensor] | None = None
    ) -> AbstractContextManager[None]:
        """Return a context in which the model's BatchNorm layers behave as `mode`.

        `stats`, named as by `ttt_bench.model.running_statistics`, is a second set of running
        statistics: it replaces the layers' own and is updated under `Norm.EMA`.
        """

    @abstractmethod
    def reset_optimiser(self, when: Tensor) -> None:
        """Forget the optimiser's state (momentum, moments) if `when`, a bool of shape (), is true.

        For `after_step`, where a method restores the source model.
        """

    @abstractmethod
    def task_loss(self, task: str, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the recipe's supervised loss of a task (scalar, unweighted)."""


@dataclass(frozen=True, kw_only=True)
class SourceStep(Generic[ExtraT]):
    """Inputs of `Adapter.source_loss` in one iteration of source training.

    Attributes:
        net: the shared network and the method's modules.
        batch: source images (B, 3, H, W) and their targets.
        stages: features s1..s4 of the main forward pass; empty in an unsupervised phase.
        predictions: task -> (B, K, H, W) of the main forward pass; empty in an unsupervised phase.
        phase: the current phase.
        ctx: random numbers, losses and normalisation modes.
    """

    net: Net[ExtraT]
    batch: Batch
    stages: list[Tensor]
    predictions: dict[str, Tensor]
    phase: Phase
    ctx: Context


OptionsT = TypeVar("OptionsT", bound=Options, default=Any)


class Adapter(ABC, Generic[OptionsT, ExtraT]):
    """A test-time method; the module's docstring states the contract.

    Only `name`, `card`, `bind` and `step` are required. The type parameters (the class of the
    options, the type that `build` returns) are optional and serve type checkers.
    """

    name: ClassVar[str]
    card: ClassVar[Card]
    Options: ClassVar[type[Options]] = Options
    paper: ClassVar[Hparams] = PAPER
    original: ClassVar[Hparams] = PAPER
    uncounted: ClassVar[tuple[str, ...]] = ()
    """Parameters of `extra` that belong to the training recipe and are left out of counts."""
    depends_on: ClassVar[tuple[type, ...]] = ()
    """Classes of other packages whose code belongs to the keys of cells, as the method's own."""
    check_options: ClassVar[Mapping[str, Any]] = {}
    """Options that `methods check` uses in place of the defaults.

    The check's networks are hardly trained and see random images, so that their predictions are
    never confident. A method that selects confident predictions sets a margin here that selects
    all of them.
    """

    def __init__(self, options: OptionsT | None = None) -> None:
        self.options = options if options is not None else cast(OptionsT, type(self).Options())

    # -- requirements and modules

    def needs(self) -> Needs:
        """Return the requirements of the method."""
        return Needs()

    def own_tasks(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Return those of a pair's `tasks` that the network has; a single-task variant has one."""
        return tuple(tasks)

    def build(self, model: Network, tasks: Mapping[str, int]) -> ExtraT:
        """Return the extra modules, or None; `tasks` maps task to output channels, in order."""
        return cast(ExtraT, None)

    # -- source training

    def phases(self) -> tuple[Phase, ...]:
        """Return the phases of source training; default: Base's supervised training alone."""
        return (SHARED,)

    def source_loss(self, step: SourceStep[ExtraT]) -> dict[str, Tensor]:
        """Return the auxiliary losses of one iteration of source training, by name.

        A name `term/task` belongs to a task and gets the weight of that task's loss. A name without
        a slash is added as it is. In an unsupervised phase there is no main forward pass, so the
        method runs the network itself, and every term is added as it is.
        """
        return {}

    def source_pass(self) -> SourcePass | None:
        """Return the source images for `source_statistics`, or None if it is not needed."""
        return None

    def source_statistics(
        self, net: Net[ExtraT], images: Iterable[Tensor], ctx: Context
    ) -> dict[str, Tensor]:
        """Return statistics of the source, computed after training and stored with the checkpoint.

        `images` yields batches (B, 3, H, W) as `source_pass` requests them, once. Gradients are off
        and the model is in `Norm.RUNNING`.
        """
        return {}

    # -- test time

    @abstractmethod
    def bind(self, net: Net[ExtraT], statistics: Mapping[str, Tensor], target: Target) -> Plan:
        """Prepare for adapting `net` (register hooks, load statistics) and return the plan.

        Buffers whose shapes depend on `target`, such as a memory of images, are registered here on
        `net.extra`. Called once per network before adapting. To get the plan alone, the harness
        calls it on a network on the meta device with empty `statistics`.
        """

    def passes(self, batch: int) -> Passes:
        """Return the cost of a step on `batch` images; called after `bind`, checked by counting."""
        return Passes(batch, batch)

    def begin_batch(self, net: Net[ExtraT], images: Tensor, ctx: Context) -> None:
        """Prepare for a new batch, before its first step or prediction; gradients are off."""
        return

    @abstractmethod
    def step(self, net: Net[ExtraT], images: Tensor, ctx: Context) -> StepOut:
        """Return the losses of one adaptation step on target images (B, 3, H, W)."""

    def after_step(self, net: Net[ExtraT], images: Tensor, ctx: Context) -> None:
        """Act after an update and before the next prediction; gradients are off.

        A place to move a teacher, restore weights to the source's, or reset the optimiser. It is
        also called after a step without an update. It may change declared parameters, in place,
        and makes no decision on the host.
        """
        return

    def end_batch(self, net: Net[ExtraT], images: Tensor, ctx: Context) -> None:
        """Finish a batch after its last step; gradients are off. Not called if nothing moves."""
        return

    def predict(self, net: Net[ExtraT], images: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Return the predictions of every task, task -> (B, K, H, W)."""
        found: dict[str, Tensor] = net.model(images)
        return found
