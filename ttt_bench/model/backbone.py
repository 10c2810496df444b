"""Networks from a configuration: a timm backbone and the heads on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from torch import nn

from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.model.network import STAGES, MultiTaskModel
from ttt_bench.model.weights import _more


def build_model(config: ModelConfig, tasks: Mapping[str, int]) -> MultiTaskModel:
    """The shared network of a configuration; heads (and a backbone from scratch) use the global
    random state.

    Raises:
        BenchError: an unknown backbone, fewer than four stages, or weights that cannot be had.
    """
    backbone: Any = _create_backbone(config)  # timm's feature networks have a `feature_info`
    reductions = backbone.feature_info.reduction()
    if len(reductions) < STAGES:
        raise BenchError(
            f"backbone {config.backbone} has feature maps at strides {reductions}; four are needed "
            "(ResNets, ConvNeXts, HRNets and most pyramidal backbones have them)"
        )
    for module in backbone.modules():
        # a method may look at a layer's output in a hook; an in-place activation would overwrite
        # what it saw
        if hasattr(module, "inplace"):
            module.inplace = False
    return MultiTaskModel(backbone, backbone.feature_info.channels(), tasks)


def _create_backbone(config: ModelConfig) -> nn.Module:
    if not timm.is_model(config.backbone):
        near = get_close_matches(config.backbone, timm.list_models(), n=5, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise BenchError(
            f"unknown backbone {config.backbone!r}; {hint}(timm.list_models() names them all)"
        )
    if config.weights and not config.weights.is_file():
        raise BenchError(f"backbone weights {config.weights}: no such file")
    failures = (RuntimeError, OSError, ValueError, TypeError, SafetensorError)
    try:
        full: Any = timm.create_model(config.backbone, features_only=True, **config.backbone_args)
    except failures as error:
        settings = (
            f" with model.backbone_args {config.backbone_args}" if config.backbone_args else ""
        )
        raise BenchError(
            f"backbone {config.backbone} cannot be built{settings}: {_reason(error)}"
        ) from error
    create = partial(
        timm.create_model,
        config.backbone,
        features_only=True,
        out_indices=tuple(range(len(full.feature_info.channels())))[-STAGES:],
        pretrained=config.pretrained or config.weights is not None,
        pretrained_cfg_overlay={"file": str(config.weights)} if config.weights else None,
        **config.backbone_args,
    )
    try:
        backbone = create()
        if config.weights:
            _check_all_loaded(config, backbone, create)
    except failures as error:
        raise BenchError(_weights_message(config, error)) from error
    return backbone


def _check_all_loaded(
    config: ModelConfig, backbone: nn.Module, create: Callable[[], nn.Module]
) -> None:
    """Refuse a file that lacks some of the backbone: timm passes over what is missing where it
    wants features only.
    """
    with torch.random.fork_rng(devices=[]):
        again = create().state_dict()
    # what did not come from the file came from the random state, which has moved on
    lacking = [
        name
        for name, tensor in backbone.state_dict().items()
        if not torch.equal(tensor, again[name])
    ]
    if lacking:
        raise BenchError(
            f"backbone weights {config.weights} lack {', '.join(lacking[:3])}{_more(lacking)} of {config.backbone}"
        )


def _weights_message(config: ModelConfig, error: Exception) -> str:
    if config.weights:
        return f"backbone weights {config.weights} could not be loaded into {config.backbone}: {_reason(error)}"
    return (
        f"the ImageNet weights of {config.backbone} could not be loaded ({_reason(error)}). Where there is no network, "
        "give a local file (--set model.weights=FILE, as saved by timm or downloaded from its page), or train from "
        "scratch (--set model.pretrained=false)"
    )


def _reason(error: Exception) -> str:
    """What an error says, on one line of bounded length (PyTorch lists every key that does not
    fit).
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 240 else f"{text[:240]} ..."
