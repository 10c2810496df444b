"""What the harness hands to a method: a batch of images, the shared network, a method's modules.

`Network` is the interface of the shared network: its stages' features, their fusion (the
hypercolumn) and its heads, each separately. A method that uses no more than this interface works
with every network. Networks derive from `ttt_bench.model.StagedNetwork`, which implements all of it
but the heads; docs/adding-a-network.md has an example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from typing_extensions import TypeVar

STAGES = 4
"""Number of stages of every shared network."""


@dataclass(frozen=True)
class Batch:
    """Images with their targets; `ttt_bench.data.base` states the shapes and conventions."""

    images: Tensor
    targets: dict[str, Tensor]

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch on a device."""
        targets = {name: value.to(device) for name, value in self.targets.items()}
        return Batch(self.images.to(device), targets)


class NetworkOptions(BaseModel):
    """Options of a network. They are frozen, and an undeclared name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


OptionsT = TypeVar("OptionsT", bound=NetworkOptions, default=Any)


class Network(nn.Module, ABC):
    """RGB in [0, 1] to the output of every task, at the size of the images.

    The constructor takes `backbone`, `channels`, `tasks` and `options`.

    Attributes:
        name: the name in `model.architecture`, equal to that of the entry point.
        summary: a short description for `networks show`.
        Options: the options, which `model.architecture_args` sets.
        head_tasks: the tasks that it can have heads for; None for every task.
        own_backbone: name of the backbone if `make_backbone` always makes the same one, instead of
            that in `model.backbone`; empty otherwise.
        check_model: settings `model.*` that `networks check` builds it with, by key without
            `model.`; by default the backbone is timm's `test_resnet`.
        options: the values of the options.
        backbone: the layers that compute the stages, and no others.
        heads: everything behind the stages.
        tasks: task -> output channels, in canonical order.
        channels: number of channels of each stage.
        mean, std: (1, 3, 1, 1), the statistics that images are normalised with.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    Options: ClassVar[type[NetworkOptions]] = NetworkOptions
    head_tasks: ClassVar[frozenset[str] | None] = None
    own_backbone: ClassVar[str] = ""
    check_model: ClassVar[Mapping[str, Any]] = {}
    options: Any
    backbone: nn.Module
    heads: nn.Module
    tasks: dict[str, int]
    channels: tuple[int, ...]
    mean: Tensor
    std: Tensor

    @classmethod
    @abstractmethod
    def make_backbone(cls, config: Any, options: Any) -> tuple[nn.Module, Sequence[int]]:
        """Return a new backbone and the number of channels of each of its four stages.

        The backbone takes normalised images (B, 3, H, W) and returns the list of stages.

        Args:
            config: the settings `model.*` (`ttt_bench.config.ModelConfig`).
            options: the network's options.

        Raises:
            BenchError: the network cannot be built on this backbone.
        """

    @abstractmethod
    def normalise_by(self, normalisation: str) -> None:
        """Normalise images with these statistics (`ttt_bench.model.NORMALISATIONS`) from now on."""

    @abstractmethod
    def normalise(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W) in [0, 1] as the backbone expects them."""

    @abstractmethod
    def stages(self, images: Tensor, last: int = STAGES) -> list[Tensor]:
        """Return the features s1..s`last`, each (B, C_l, h_l, w_l), of images (B, 3, H, W).

        Layers after the last stage are not computed.
        """

    @abstractmethod
    def upstream(self, last: int) -> tuple[str, ...]:
        """Return the names of the parameters that s1..s`last` depend on.

        A backbone that cannot tell returns all of its parameters.
        """

    @abstractmethod
    def pooled(self, stages: Sequence[Tensor]) -> Tensor:
        """Return the mean of the hypercolumn over all positions, (B, sum C_l)."""

    @abstractmethod
    def hypercolumn(self, stages: Sequence[Tensor]) -> Tensor:
        """Return the stages at the size of s1, concatenated: (B, sum C_l, H/4, W/4)."""

    @abstractmethod
    def project(
        self, stages: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Return a 1x1 convolution of the hypercolumn, (B, outputs, H/4, W/4).

        Args:
            stages: s1..s4.
            weight: (outputs, sum C_l, 1, 1).
            bias: (outputs,).
        """

    @abstractmethod
    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """Return the raw output of every task, (B, K, H, W) at `size` = (H, W)."""

    def supervised_outputs(
        self, stages: Sequence[Tensor], size: Sequence[int]
    ) -> list[dict[str, Tensor]]:
        """Return the outputs that source training compares with the targets; `outputs` first.

        The loss of a task is the sum of its losses over the list, each with weight 1. A network
        with intermediate predictions appends them, (B, K, H, W) at `size` = (H, W).
        """
        return [self.outputs(stages, size)]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return task -> (B, K, H, W) for images (B, 3, H, W).

        The outputs are logits, depth, unnormalised vectors and edge values.
        """
        return self.outputs(self.stages(images), images.shape[-2:])


ExtraT = TypeVar("ExtraT", bound=nn.Module | None, default=Any)


class Net(nn.Module, Generic[ExtraT]):
    """The shared network `model` with a method's modules `extra` (None if it adds none)."""

    extra: ExtraT

    def __init__(self, model: Network, extra: ExtraT) -> None:
        super().__init__()
        self.model = model
        self.extra = extra
