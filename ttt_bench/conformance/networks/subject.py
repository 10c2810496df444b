"""A network under test: small, with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ttt_bench.config.preset import ModelConfig
from ttt_bench.conformance import BACKBONE
from ttt_bench.conformance.subject import CHANNELS, MODEL, TARGET_SIZE, model_settings
from ttt_bench.errors import BenchError
from ttt_bench.model.architecture import build_network, network_options
from ttt_bench.network import Network
from ttt_bench.util.input.validation import validated


@dataclass(frozen=True)
class NetworkSubject:
    """A class of networks, and the settings that it is built with.

    Attributes:
        kind: the class.
        config: the settings `model.*`.
        device: the device to run on.
    """

    kind: type[Network]
    config: ModelConfig
    device: torch.device

    @classmethod
    def create(
        cls, kind: type[Network], settings: Mapping[str, Any], device: torch.device
    ) -> NetworkSubject:
        """Return a class with its `check_model`, changed by settings `model.key` -> value.

        Raises:
            BenchError: a setting is invalid.
        """
        given = model_settings(settings)
        if foreign := [key for key in settings if not key.startswith(MODEL)]:
            raise BenchError(f"setting {foreign[0]}: a network has settings {MODEL}* only")
        if given.get("architecture", kind.name) != kind.name:
            raise BenchError(f"setting {MODEL}architecture: the network {kind.name} is checked")
        values = {"backbone": BACKBONE, **kind.check_model, **given, "architecture": kind.name}
        config = validated(ModelConfig, values, f"setting {MODEL}{{}}".format)
        network_options(kind, config)
        return cls(kind, config, device)

    @property
    def channels(self) -> dict[str, int]:
        """Return task -> output channels, for the tasks that it can have heads for."""
        own = self.kind.head_tasks
        return {task: k for task, k in CHANNELS.items() if own is None or task in own}

    @property
    def task_sets(self) -> list[dict[str, int]]:
        """Return all tasks, and each task alone."""
        every = self.channels
        return [every, *({task: k} for task, k in every.items() if len(every) > 1)]

    def build(self, channels: Mapping[str, int] | None = None, seed: int = 0) -> Network:
        """Return a new network in eval mode; all tasks by default."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = build_network(self.kind, self.config, channels or self.channels)
        return network.to(self.device).eval()

    def images(self, count: int = 2, size: tuple[int, int] = TARGET_SIZE) -> Tensor:
        """Return random images (count, 3, *size) in [0, 1]."""
        draw = torch.Generator().manual_seed(7)
        return torch.rand(count, 3, *size, generator=draw).to(self.device)
