"""Networks from a configuration: a timm backbone with one head per task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

import timm
import torch
from timm.models import get_arch_pretrained_cfgs
from torch import nn

from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError, unknown
from ttt_bench.model.network import MultiTaskModel
from ttt_bench.model.weights import existing_weights, pretrained_tag
from ttt_bench.network import STAGES
from ttt_bench.util.text import listed


def build_model(config: ModelConfig, tasks: Mapping[str, int]) -> MultiTaskModel:
    """Return the shared network of a configuration.

    Heads, and a backbone without weights, are initialised from the global random state.

    Args:
        config: the configuration.
        tasks: task -> output channels, in canonical order.

    Raises:
        BenchError: the backbone is unknown or has fewer than four stages, or its weights are not
            available.
    """
    _check_known(config.backbone)
    backbone = _create_backbone(config)
    reductions = backbone.feature_info.reduction()
    if len(reductions) < STAGES:
        raise BenchError(
            f"backbone {config.backbone} has feature maps at strides {reductions}, but four are "
            "needed; use a pyramidal backbone such as a ResNet, ConvNeXt or HRNet"
        )
    for module in backbone.modules():
        # a method may read a layer's output in a hook; an in-place activation would overwrite it
        if hasattr(module, "inplace"):
            module.inplace = False
    return MultiTaskModel(backbone, backbone.feature_info.channels(), tasks)


def _check_known(backbone: str) -> None:
    architecture, _, tag = backbone.partition(".")
    if timm.is_model(architecture):
        tags = get_arch_pretrained_cfgs(architecture)
        if tag and backbone not in tags:
            names = [name.partition(".")[2] for name in tags]
            raise unknown(f"tag of {architecture}'s weights", tag, filter(None, names))
        return
    near = get_close_matches(backbone, timm.list_models(), n=5, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise BenchError(f"unknown backbone {backbone!r}; {hint}(timm.list_models() returns all names)")


def _create_backbone(config: ModelConfig) -> Any:  # timm's feature networks have no common type
    """Return the backbone with its last four stages and its initial weights."""
    weights = existing_weights(config.weights) if config.weights else None
    create = partial(
        timm.create_model,
        config.backbone,
        features_only=True,
        out_indices=tuple(range(_feature_maps(config)))[-STAGES:],
        pretrained=config.pretrained or weights is not None,
        pretrained_cfg_overlay={"file": str(weights)} if weights else None,
        **config.backbone_args,
    )
    try:
        backbone = create()
        if weights:
            _check_all_loaded(config, backbone, create)
    except BenchError:
        raise
    except Exception as error:  # timm's models raise various errors, assertions among them
        raise BenchError(_weights_message(config, error)) from error
    return backbone


def _feature_maps(config: ModelConfig) -> int:
    """Return the number of feature maps of the backbone."""
    try:
        full: Any = timm.create_model(config.backbone, features_only=True, **config.backbone_args)
    except Exception as error:  # timm's models raise various errors, assertions among them
        arguments = (
            f" with model.backbone_args {config.backbone_args}" if config.backbone_args else ""
        )
        raise BenchError(
            f"backbone {config.backbone} cannot be built{arguments}: {_one_line(error)}"
        ) from error
    return len(full.feature_info.channels())


def _check_all_loaded(
    config: ModelConfig, backbone: nn.Module, create: Callable[[], nn.Module]
) -> None:
    """Raise an error if the file lacks tensors, which timm ignores for a feature network."""
    with torch.random.fork_rng(devices=[]):
        again = create().state_dict()
    # a tensor that differs was initialised from the random state, which has advanced meanwhile
    missing = [
        name
        for name, tensor in backbone.state_dict().items()
        if not torch.equal(tensor, again[name])
    ]
    if missing:
        raise BenchError(
            f"backbone weights {config.weights} lack {listed(missing)} of {config.backbone}; use "
            "a file saved by timm from this backbone"
        )


def _weights_message(config: ModelConfig, error: Exception) -> str:
    if config.weights:
        return (
            f"backbone weights {config.weights} could not be loaded into {config.backbone}: "
            f"{_one_line(error)}; use a file saved by timm from this backbone"
        )
    return (
        f"the ImageNet weights of {config.architecture} with timm's tag {pretrained_tag(config)} "
        f"could not be loaded ({_one_line(error)}). Without a network, give a local file of these "
        "weights (--set model.weights=FILE, as saved by timm or downloaded from its page), or "
        "train from scratch (--set model.pretrained=false)"
    )


def _one_line(error: Exception) -> str:
    """Return an error's message on one line of at most about 240 characters.

    PyTorch's messages list every key that does not fit.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 240 else f"{text[:240]} ..."
