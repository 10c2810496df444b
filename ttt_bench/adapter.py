"""The one interface that a method author has to read.

A method is one class in one file. It says what it needs, which extra modules it adds, how it
changes source training, what moves at test time, and what one adaptation step computes. The harness
does everything else: the loop, the optimiser, normalisation modes, grad mode, resetting, scoring,
timing, checkpoints. A method never sees target labels, paths or indices.

What the harness promises and asks:

* `net` is `net.model` (the shared multi-task network, `ttt_bench.model`) and `net.extra` (what
  `build` returned).
* Before `step` the harness sets the model's BatchNorm layers to `plan.adapt`, before `predict` to
  `plan.predict`. Extra modules are in eval mode at test time unless `bind` says otherwise.
* `step` sees weights after k updates and returns losses; the harness sums them, descends, and calls
  again. A step may call `torch.autograd.grad`, never `backward`, and never an optimiser.
* What changes between steps lives in parameters and buffers of `net`. The harness restores moved
  parameters, buffers, and optimiser in place and seeds the generator anew; that is a complete
  reset.
* What never changes (source statistics, hooks, caches) may be kept on the adapter from `bind` on.
* Randomness comes from `ctx.rand` and its relatives, seeded by (seed, method, batch), so that order
  and shards do not matter. Initialisation in `build` runs under a seeded global generator.
* A step makes no host decision that depends on tensor values (no `.item()`, no value-dependent
  shapes).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from ttt_bench.losses import Recipe
from ttt_bench.network import Batch, ExtraT, Net, Network


class Norm(StrEnum):
    """How the model's BatchNorm layers behave in a forward pass."""

    RUNNING = "running"
    """Normalise with the stored running statistics as they now stand (eval)."""
    BATCH = "batch"
    """Normalise with the statistics of the batch; the stored ones stay."""
    EMA = "ema"
    """Normalise with the statistics of the batch; the stored ones move (train)."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method cannot run without; checked when the plan is made.

    Attributes:
        tasks: tasks that the pair must have.
        min_batch: images that the smallest batch must have.
        min_side: pixels that the shorter side of the target's images must have.
        batchnorm: the network must have BatchNorm layers.
        affine: the network must have normalisation layers of any kind with a scale and a shift.
    """

    tasks: frozenset[str] = frozenset()
    min_batch: int = 1
    min_side: int = 1
    batchnorm: bool = False
    affine: bool = False


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens at test time.

    Attributes:
        moves: names or patterns (as `fnmatch`) of the parameters of `net` that may move. Without
            any, `step` is never called and one prediction is the whole trajectory.
        adapt: normalisation of the model while `step` runs.
        predict: normalisation of the model while `predict` runs.
        exact: the predictions that `step` returns equal those of a separate `predict` with the same
        weights.
    """

    moves: tuple[str, ...]
    adapt: Norm
    predict: Norm
    exact: bool


class StepOut(NamedTuple):
    """What one adaptation step computed.

    Attributes:
        losses: named scalar losses; the harness minimises their sum.
        predictions: task -> (B, K, H, W), made by the weights before the update; None where the
        step runs no heads.
    """

    losses: dict[str, Tensor]
    predictions: dict[str, Tensor] | None


class Optimiser(BaseModel):
    """Settings of an adapting optimiser.

    Attributes:
        lr_per_sample: whether `lr` is to be multiplied with the batch size that was asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimiser: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(2e-5, ge=0)
    momentum: float = Field(0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(0.0, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    lr_per_sample: bool = False

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of source training, as a method declares it.

    `ttt_bench.train.chain.TrainingStage` is a phase with the settings of a run filled in.

    Attributes:
        name: what a person sees. The phase `SHARED` is Base's own supervised training; methods that
            have only it share its checkpoint.
        trains: "model", "extra", or both. What is not trained is in eval mode.
        supervised: whether the task losses are part of the objective.
        iterations: how many; None for as many as the preset trains each source model.
        optimiser: what descends; None for the preset's Adam.
        schedule: how the learning rate falls to 0: as a power of the iterations left (S4T's), or as
        a half cosine.
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
    """The source training images that `Adapter.source_statistics` is given.

    Attributes:
        images: at most so many, drawn by the seed, without augmentation.
        batch: images a batch; a last one may have fewer, but not a single one.
        at_target_size: resized (bilinear) to the size of the target's images.
    """

    images: int = 4096
    batch: int = 8
    at_target_size: bool = False


class Passes(NamedTuple):
    """What one adaptation step costs, in passes of a whole batch; a separate prediction comes on
    top.

    Attributes:
        forwards: forward passes through the backbone.
        backwards: backward passes through it.
        stages: the last stage that they reach.
    """

    forwards: int
    backwards: int
    stages: int = 4


@dataclass(frozen=True, kw_only=True)
class Hparams:
    """One complete choice of how a method is run: optimiser, steps and options, and who chose
    them.
    """

    citation: str
    optimiser: Optimiser = field(default_factory=lambda: Optimiser())
    steps: int = 40
    options: Mapping[str, Any] = field(default_factory=dict)


PAPER = Hparams(
    citation="S4T, section 4.1: one protocol for every method",
    optimiser=Optimiser(lr=2e-5, weight_decay=1e-6),
    steps=40,
)
"""`--hparams paper`: SGD, learning rate 2e-5, no momentum, weight decay 1e-6, 40 steps."""


def option(
    default: Any, description: str, *, citation: str, shapes_source: bool = False, **bounds: Any
) -> Any:
    """A documented option of a method.

    Args:
        default: its default value.
        description: what it means, with units.
        citation: where the default comes from (paper and equation, the authors' code, or a decision
        of this project).
        shapes_source: whether it changes the source model, so that another value needs another
        checkpoint.
        bounds: pydantic's own (`ge`, `gt`, `le`, `lt`).
    """
    extra: dict[str, Any] = {"citation": citation, "shapes_source": shapes_source}
    return Field(default, description=description, json_schema_extra=extra, **bounds)


class Options(BaseModel):
    """Options of a method: frozen, and a name that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    norm_momentum: float = option(
        0.1,
        "momentum of BatchNorm's running statistics while adapting",
        citation="PyTorch's default",
        gt=0,
        le=1,
    )

    @classmethod
    def source_fields(cls) -> tuple[str, ...]:
        """Return the names of the options that shape the source model."""
        about = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return tuple(
            name
            for name, extra in about.items()
            if isinstance(extra, dict) and extra.get("shapes_source")
        )


class EmaOptions(Options):
    """Options of a method that adapts under `Norm.EMA`."""

    predict_norm: Literal["running", "batch"] = option(
        "running",
        "normalisation while predicting",
        citation="the authors' code predicts in eval mode",
    )


@dataclass(frozen=True)
class Quirk:
    """Something particular about the authors' code.

    Attributes:
        code: what the authors' code does.
        here: what is done here.
        option: the setting that does as the authors' code, `name=value`; empty where none does.
    """

    code: str
    here: str
    option: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a person should know about a method before trusting a row of it.

    What the code can say of itself (needs, what moves, normalisation modes, passes, settings) is
    not repeated here.

    Attributes:
        title: the method's full name.
        paper: authors, title, venue.
        source_training: what it trains on the source domain.
        moves: what moves at test time, in words.
        sizes: how it copes with targets of another size or aspect than the source.
        architecture: how sure it is that its modules are those of the published numbers.
        quirks: what is particular about the authors' code, and whether it is reproduced here.
    """

    title: str
    paper: str
    source_training: str
    moves: str
    sizes: str
    architecture: str = "adds no modules"
    quirks: tuple[Quirk, ...] = ()


class Context(ABC):
    """What the harness hands to a method beside the network and the images."""

    generator: torch.Generator
    """A CPU generator, seeded by (seed, method, batch); drawing on the CPU makes all devices see
    the same numbers.
    """
    recipe: Recipe
    """The loss recipe: the source's while training, the target's while adapting."""
    source_recipe: Recipe
    """The source's loss recipe, at any time."""

    @abstractmethod
    def norm(
        self, mode: Norm, stats: Mapping[str, Tensor] | None = None
    ) -> AbstractContextManager[None]:
        """Within the block the model's BatchNorm layers behave as `mode`.

        With `stats`, a second set of running statistics (named as by
        `ttt_bench.model.batchnorm.running_statistics`) is used in place of the layers' own, and
        moved under `Norm.EMA`.
        """

    @abstractmethod
    def task_loss(self, task: str, prediction: Tensor, target: Tensor) -> Tensor:
        """The recipe's supervised loss of a task (scalar, unweighted)."""

    @abstractmethod
    def rand(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of this shape, on the network's device, from `generator`."""

    @abstractmethod
    def uniform_like(self, x: Tensor) -> Tensor:
        """Uniform numbers in [0, 1), as many as `x` has, drawn on its device.

        For images and feature maps: quicker than `rand` and seeded as it is, but other numbers on
        another kind of device.
        """

    @abstractmethod
    def normal_like(self, x: Tensor) -> Tensor:
        """Standard normal numbers, as many as `x` has; drawn as by `uniform_like`."""


@dataclass(frozen=True, kw_only=True)
class SourceStep(Generic[ExtraT]):
    """One iteration of source training, as `Adapter.source_loss` sees it.

    Attributes:
        net: the shared network and the method's modules.
        batch: source images (B, 3, H, W) with their targets.
        stages: features s1..s4 of the main forward; empty in an unsupervised phase.
        predictions: task -> (B, K, H, W) of the main forward; empty in an unsupervised phase.
        phase: the phase that this iteration belongs to.
        ctx: randomness, losses and normalisation modes.
    """

    net: Net[ExtraT]
    batch: Batch
    stages: list[Tensor]
    predictions: dict[str, Tensor]
    phase: Phase
    ctx: Context


OptionsT = TypeVar("OptionsT", bound=Options)


class Adapter(ABC, Generic[OptionsT, ExtraT]):
    """A test-time method. See the module's text for the contract, `docs/adding-a-method.md` for
    a worked example.
    """

    name: ClassVar[str]
    card: ClassVar[Card]
    Options: ClassVar[type[Options]] = Options
    paper: ClassVar[Hparams] = PAPER
    original: ClassVar[Hparams] = PAPER
    uncounted: ClassVar[tuple[str, ...]] = ()
    """Names of parameters of `extra` that belong to the training recipe and are left out of
    parameter counts.
    """

    def __init__(self, options: OptionsT | None = None) -> None:
        self.options = options if options is not None else cast(OptionsT, type(self).Options())

    def needs(self) -> Needs:
        """What the method cannot run without."""
        return Needs()

    def build(self, model: Network, tasks: Mapping[str, int]) -> ExtraT:
        """Extra modules of the method; `tasks` maps each task to its output channels, in
        canonical order.
        """
        return cast(ExtraT, None)

    def phases(self) -> tuple[Phase, ...]:
        """Stretches of source training; by default the shared supervised source model alone."""
        return (SHARED,)

    def own_tasks(self, tasks: Sequence[str]) -> tuple[str, ...]:
        """Those of a pair's tasks that the method's network has; fewer than all only for a
        single-task variant.
        """
        return tuple(tasks)

    def source_loss(self, step: SourceStep[ExtraT]) -> dict[str, Tensor]:
        """Auxiliary terms of source training, given the main forward's stages and predictions.

        A key `term/task` belongs to a task (it is weighted as that task's own loss is); a key
        without a slash is a plain addend. An unsupervised phase has no main forward: both are
        empty, the method runs what it needs, and every term is a plain addend.
        """
        return {}

    def source_pass(self) -> SourcePass | None:
        """The source images that `source_statistics` is to see; None where the method needs no
        statistics.
        """
        return None

    def source_statistics(
        self, net: Net[ExtraT], images: Iterable[Tensor], ctx: Context
    ) -> dict[str, Tensor]:
        """Statistics of the source, computed once after training and stored with the checkpoint.

        `images` are batches (B, 3, H, W) as `source_pass` asks for, read once; gradients are off
        and the model is in `Norm.RUNNING`.
        """
        return {}

    @abstractmethod
    def bind(self, net: Net[ExtraT], statistics: Mapping[str, Tensor]) -> Plan:
        """Called once before adapting: register hooks, load statistics, and say what will move.

        Where only the plan is asked for (listings), `statistics` is empty.
        """

    def passes(self, batch: int) -> Passes:
        """What a step on `batch` images costs; the conformance check counts and compares."""
        return Passes(1, 1)

    def begin_batch(self, net: Net[ExtraT], images: Tensor, ctx: Context) -> None:
        """Called when a batch to adapt to arrives, before its first step or prediction;
        gradients are off.
        """
        return

    def end_batch(self, net: Net[ExtraT], images: Tensor, ctx: Context) -> None:
        """Called after a batch's last step, where the method makes steps; gradients are off."""
        return

    @abstractmethod
    def step(self, net: Net[ExtraT], images: Tensor, ctx: Context) -> StepOut:
        """One adaptation step's losses on target images (B, 3, H, W), before any update."""

    def predict(self, net: Net[ExtraT], images: Tensor, ctx: Context) -> dict[str, Tensor]:
        """Predictions of every task, task -> (B, K, H, W)."""
        return net.model(images)
