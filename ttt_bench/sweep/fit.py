"""Check whether a network fits the images of a pair, and a method fits the pair."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import torch
from torch import nn

from ttt_bench.adapt.meta import meta_net, plan_of
from ttt_bench.adapter import Adapter
from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError
from ttt_bench.model.backbone import build_model
from ttt_bench.model.batchnorm import AFFINE_NORMS, BATCH_NORMS, affine_parameters
from ttt_bench.model.weights import load_weights
from ttt_bench.network import Network
from ttt_bench.sweep.batches import target_batches
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.sweep.problems import attempt
from ttt_bench.sweep.settings import channels_of
from ttt_bench.sweep.source_data import source_change
from ttt_bench.tasks import canonical
from ttt_bench.train.chain import trains_on_source


@dataclass(frozen=True)
class NetworkFit:
    """How the shared network fits a pair.

    Attributes:
        problems: reasons why it cannot be used.
        has_batchnorm: whether it has BatchNorm layers.
    """

    problems: tuple[str, ...]
    has_batchnorm: bool


@dataclass(frozen=True)
class MethodFit:
    """How a method fits a pair.

    Attributes:
        reason: the reason why it cannot run on the pair; None if it can.
        moves: whether it moves parameters.
    """

    reason: str | None
    moves: bool = True


def network_fit(opened: OpenedPair) -> NetworkFit:
    """Return whether the shared network can take the images of source and target."""
    network = meta_net(opened.preset.model, channels_of(opened)).model
    problems = [
        *_batch_problems(opened),
        *_size_problems(opened, network, "source", opened.source_data.size),
        *_size_problems(opened, network, "target", opened.target_data.size),
    ]
    return NetworkFit(tuple(problems), _has_batchnorm(network))


def source_problems(opened: OpenedPair, request: Request, checkpoints: Path) -> list[str]:
    """Return the reasons why existing source models or the given weights cannot be used."""
    if request.source_weights is None:
        change, problems = attempt(source_change, opened, checkpoints)
        return [change] if change else problems
    model = build_model(opened.preset.model.untrained(), channels_of(opened))
    return attempt(load_weights, model, request.source_weights)[1]


def method_fit(opened: OpenedPair, adapter: Adapter, request: Request) -> MethodFit:
    """Return whether a method can run on a pair, and whether it moves parameters."""
    reason = _unmet_need(opened, adapter, request)
    if reason:
        return MethodFit(reason)
    backbone = opened.preset.model.backbone
    try:
        net = meta_net(opened.preset.model, channels_of(opened, adapter), adapter)
        moves = bool(plan_of(net, adapter).moves)
    except BenchError as error:
        return MethodFit(f"does not fit: {error}")
    except Exception as error:  # a plugin may raise anything, and must not stop the others
        return MethodFit(f"cannot be bound to {backbone}: {type(error).__name__}: {error}")
    needs = adapter.needs()
    if needs.batchnorm and not affine_parameters(net.model, BATCH_NORMS):
        return MethodFit(f"needs BatchNorm layers, which {backbone} does not have")
    if needs.affine and not affine_parameters(net.model, AFFINE_NORMS):
        return MethodFit(
            f"needs normalisation layers with scale and shift, which {backbone} does not have"
        )
    return MethodFit(None, moves)


def _batch_problems(opened: OpenedPair) -> list[str]:
    height, width = opened.target_data.size
    smallest = _smallest_batch(opened)
    if smallest * ceil(height / 32) * ceil(width / 32) >= 2:
        return []
    return [
        f"{opened.pair.name}: the last backbone stage has only one value per channel for a batch "
        f"of {smallest} image of {height}x{width}, so batch statistics are undefined; use larger "
        "images or a larger batch"
    ]


def _size_problems(
    opened: OpenedPair, network: Network, role: str, size: tuple[int, int]
) -> list[str]:
    try:
        network(torch.empty(2, 3, *size, device="meta"))
    except Exception as error:  # timm's networks of fixed size raise various errors
        return [
            f"{opened.pair.name}: {opened.preset.model.backbone} cannot take the {role}'s images "
            f"of {size[0]}x{size[1]} ({error}); use another backbone or other sizes "
            f"(--set data.sizes.{role}=[H, W])"
        ]
    return []


def _has_batchnorm(network: nn.Module) -> bool:
    return any(isinstance(module, BATCH_NORMS) for module in network.modules())


def _smallest_batch(opened: OpenedPair) -> int:
    return min(map(len, target_batches(opened.target_data, opened.preset.batch)))


def _unmet_need(opened: OpenedPair, adapter: Adapter, request: Request) -> str | None:
    needs = adapter.needs()
    missing = [task for task in canonical(needs.tasks) if task not in opened.tasks]
    if missing:
        return f"needs {', '.join(missing)}, which the pair does not have"
    smallest, side = _smallest_batch(opened), min(opened.target_data.size)
    if smallest < needs.min_batch:
        return f"needs batches of at least {needs.min_batch} images, the smallest has {smallest}"
    if side < needs.min_side:
        return (
            f"needs images of at least {needs.min_side} pixels per side, the target's have {side}"
        )
    if request.source_weights is not None and trains_on_source(adapter):
        return (
            "needs its own source training, which the model from --source-weights has not had; "
            "drop the method or --source-weights"
        )
    return None
