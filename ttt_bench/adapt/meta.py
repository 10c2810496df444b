"""Networks on the meta device (shapes, no values), to inspect them and get a method's plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import deepcopy
from functools import lru_cache
from shlex import quote
from typing import Any

import torch

from ttt_bench.adapt.parameters import moved_parameters
from ttt_bench.adapt.returned import checked_plan
from ttt_bench.adapter import Adapter, Plan, Target
from ttt_bench.config.preset import ModelConfig
from ttt_bench.config.toml_text import inline_table
from ttt_bench.errors import BenchError
from ttt_bench.model.architecture import build_model, network_fields
from ttt_bench.model.network import StagedNetwork
from ttt_bench.network import Net
from ttt_bench.util.hashing import hash_of
from ttt_bench.util.problems import attempt
from ttt_bench.util.process import watched


def meta_net(
    config: ModelConfig, channels: Mapping[str, int], adapter: Adapter | None = None
) -> Net:
    """Return the network of a configuration with a method's modules, without values.

    Args:
        config: the network's configuration.
        channels: task -> output channels.
        adapter: the method; None for the network alone.

    Raises:
        BenchError: the network cannot be built.
    """
    model = deepcopy(_meta_model(*_identity(config, channels)))
    if adapter is None:
        return Net(model, None)
    with torch.device("meta"), watched(f"`build` of method {adapter.name}"):
        return Net(model, adapter.build(model, model.tasks))


_ANY_SIZE: tuple[Mapping[str, Any], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"strict_img_size": False},
)
"""Arguments with which timm's backbones of a fixed size take others: plain ViTs, and Swins."""


def size_remedy(
    config: ModelConfig, channels: Mapping[str, int], sizes: Collection[tuple[int, int]]
) -> str:
    """Return the option with which a network takes images of all sizes; empty if none is known.

    Args:
        config: the network's configuration.
        channels: task -> output channels.
        sizes: (H, W) of the images.
    """
    for added in _ANY_SIZE:
        arguments = {**config.backbone_args, **added}
        other = config.model_copy(update={"backbone_args": arguments})
        if all(attempt(forward_error, other, channels, size) == (None, []) for size in sizes):
            return f"--set {quote(f'model.backbone_args={inline_table(arguments)}')}"
    return ""


def forward_error(
    config: ModelConfig, channels: Mapping[str, int], size: tuple[int, int]
) -> str | None:
    """Return why a network cannot take images of a size, or None if it can.

    Args:
        config: the network's configuration.
        channels: task -> output channels.
        size: (H, W) of the images.

    Raises:
        BenchError: the network cannot be built.
    """
    return _forward_error(_identity(config, channels), size)


_Identity = tuple[str, tuple[tuple[str, int], ...], str]
"""Configuration of a network in JSON, output channels, and a hash that covers its code."""


def _identity(config: ModelConfig, channels: Mapping[str, int]) -> _Identity:
    fields = hash_of(network_fields(config))
    return config.untrained().model_dump_json(), tuple(channels.items()), fields


@lru_cache(maxsize=16)
def _meta_model(config: str, channels: tuple[tuple[str, int], ...], code: str) -> StagedNetwork:
    """Return the shared network; one whose code has changed is built again."""
    with torch.device("meta"):
        return build_model(ModelConfig.model_validate_json(config), dict(channels))


@lru_cache(maxsize=64)
def _forward_error(identity: _Identity, size: tuple[int, int]) -> str | None:
    model = deepcopy(_meta_model(*identity))
    try:
        outputs = model(torch.empty(2, 3, *size, device="meta"))
    except BenchError:
        raise
    except Exception as error:  # timm's networks of fixed size raise various errors
        return " ".join(str(error).split()).rstrip(".") or type(error).__name__
    found = {task: tuple(output.shape) for task, output in outputs.items()}
    wanted = {task: (2, outputs, *size) for task, outputs in model.tasks.items()}
    return None if found == wanted else f"its outputs for 2 images have the shapes {found}"


def plan_of(net: Net, adapter: Adapter, target: Target) -> Plan:
    """Return what a method declares for test time on a network and a target.

    Raises:
        BenchError: the method cannot adapt this network.
    """
    with watched(f"`bind` of method {adapter.name}"):
        bound = adapter.bind(net, {}, target)
    plan = checked_plan(bound, adapter.name)
    moved_parameters(net, plan.moves, adapter.name)
    return plan
