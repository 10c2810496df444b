"""Whether a method fits a pair, and a network its images."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import nn

from ttt_bench.adapt.meta import meta_net, plan_of
from ttt_bench.adapter import Adapter
from ttt_bench.config.method_settings import MethodSettings
from ttt_bench.config.preset import Preset
from ttt_bench.config.request import Request
from ttt_bench.errors import BenchError
from ttt_bench.model.backbone import build_model
from ttt_bench.model.batchnorm import AFFINE_NORMS, BATCH_NORMS, affine_parameters
from ttt_bench.model.weights import load_weights
from ttt_bench.network import Network
from ttt_bench.sweep.cell import CHECKPOINTS
from ttt_bench.sweep.opened import OpenedPair
from ttt_bench.tasks import canonical
from ttt_bench.train import changed_data as seen
from ttt_bench.train.chain import trains_on_source


def _size_problems(work: OpenedPair, network: Network) -> list[str]:
    height, width = work.target.size
    smallest = min(len(batch) for batch in work.batches)
    problems = []
    if smallest * ceil(height / 32) * ceil(width / 32) < 2:
        problems.append(
            f"{work.pair.name}: a batch of {smallest} image of {height}x{width} leaves batch statistics a single value "
            "at the last stage; use larger images or more of them"
        )
    for role, size in (("source", work.source.size), ("target", work.target.size)):
        try:
            network(torch.empty(2, 3, *size, device="meta"))
        except Exception as error:  # whatever timm's networks raise where their size is fixed
            problems.append(
                f"{work.pair.name}: {work.preset.model.backbone} cannot take the {role}'s images of "
                f"{size[0]}x{size[1]} ({error}); take another backbone, or other sizes (--set data.sizes.{role}=[H, W])"
            )
    return problems


def _source_problems(request: Request, work: OpenedPair) -> list[str]:
    """Why the source model that is there cannot be used."""
    if request.source_weights is None:
        changed = seen.changed(request.results / CHECKPOINTS, work)
        return [changed] if changed else []
    try:
        load_weights(
            build_model(work.preset.model.untrained(), work.channels()), request.source_weights
        )
    except BenchError as error:
        return [str(error)]
    return []


def _method_notices(
    settings: list[MethodSettings], network: nn.Module, preset: Preset
) -> list[str]:
    names = [one.adapter.name for one in settings]
    if "norm" in names and not _has_batchnorm(network):
        return [f"{preset.model.backbone} has no BatchNorm layers: norm will equal base"]
    return []


def _has_batchnorm(network: nn.Module) -> bool:
    return any(isinstance(module, BATCH_NORMS) for module in network.modules())


@dataclass(frozen=True)
class _Verdict:
    """Why a method cannot run on a pair (None where it can), and whether it moves any parameter."""

    reason: str | None
    moves: bool = True


def _verdict(request: Request, work: OpenedPair, adapter: Adapter) -> _Verdict:
    reason = _unmet_need(request, work, adapter)
    if reason:
        return _Verdict(reason)
    needs, backbone = adapter.needs(), work.preset.model.backbone
    try:
        net = meta_net(work.preset.model, work.channels(adapter), adapter)
        moves = bool(plan_of(net, adapter).moves)
    except BenchError as error:
        return _Verdict(f"does not fit: {error}")
    except Exception as error:  # a plugin can fail in any way; the others must go on
        return _Verdict(f"cannot be bound to {backbone}: {type(error).__name__}: {error}")
    if needs.batchnorm and not affine_parameters(net.model, BATCH_NORMS):
        return _Verdict(f"needs BatchNorm layers, which {backbone} does not have")
    if needs.affine and not affine_parameters(net.model, AFFINE_NORMS):
        return _Verdict(
            f"needs normalisation layers with a scale and a shift, which {backbone} does not have"
        )
    return _Verdict(None, moves)


def _unmet_need(request: Request, work: OpenedPair, adapter: Adapter) -> str | None:
    needs = adapter.needs()
    lacking = [task for task in canonical(needs.tasks) if task not in work.tasks]
    if lacking:
        return f"needs {', '.join(lacking)}, which the pair does not have"
    smallest = min(len(batch) for batch in work.batches)
    if smallest < needs.min_batch:
        return f"needs batches of at least {needs.min_batch} images, the smallest has {smallest}"
    if min(work.target.size) < needs.min_side:
        return f"needs images of at least {needs.min_side} pixels a side, the target's have {min(work.target.size)}"
    if request.source_weights is not None and trains_on_source(adapter):
        return (
            "trains on the source, and a model given with --source-weights has not had that training: leave the method "
            "out, or run it without --source-weights"
        )
    return None
