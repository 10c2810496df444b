"""Backbones of timm with four stages, from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

import timm
import torch
from timm.models import get_arch_pretrained_cfgs
from torch import nn

from ttt_bench.config.preset import ModelConfig
from ttt_bench.errors import BenchError, unknown
from ttt_bench.model.hrnet import take_any_size
from ttt_bench.model.weights import existing_weights, pretrained_tag
from ttt_bench.network import STAGES
from ttt_bench.util.text import listed

ELSEWHERE = {
    "features_only": "it is always set",
    "pretrained": "use --set model.pretrained=true",
    "pretrained_cfg": "use --set model.weights=FILE",
    "pretrained_cfg_overlay": "use --set model.weights=FILE",
    "checkpoint_path": "use --set model.weights=FILE",
}
"""Arguments of timm's `create_model` that other settings give -> what to do."""


def timm_backbone(config: ModelConfig) -> tuple[nn.Module, tuple[int, ...]]:
    """Return the timm backbone of a configuration, and the channels of its four stages.

    Without `out_indices` in `backbone_args`, the stages are the backbone's last four feature maps.
    A backbone without weights is initialised from the global random state.

    Raises:
        BenchError: the backbone is unknown or has fewer than four feature maps, an argument is not
            allowed, or the weights are not available.
    """
    _check_known(config.backbone)
    _check_arguments(config)
    backbone = _create_backbone(config, _stage_indices(config))
    take_any_size(backbone)
    return backbone, tuple(backbone.feature_info.channels())


def _check_known(backbone: str) -> None:
    name, _, tag = backbone.partition(".")
    if timm.is_model(name):
        tags = get_arch_pretrained_cfgs(name)
        if tag and backbone not in tags:
            known = [own.partition(".")[2] for own in tags]
            raise unknown(f"tag of {name}'s weights", tag, filter(None, known))
        return
    near = get_close_matches(backbone, timm.list_models(), n=5, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise BenchError(f"unknown backbone {backbone!r}; {hint}timm.list_models() returns all names")


def _check_arguments(config: ModelConfig) -> None:
    for name, remedy in ELSEWHERE.items():
        if name in config.backbone_args:
            raise BenchError(f"model.backbone_args cannot have {name!r}; {remedy}")


def _stage_indices(config: ModelConfig) -> Sequence[int]:
    """Return the positions of the four stages in the backbone's list of feature maps."""
    reductions, given = _reductions(config), config.backbone_args.get("out_indices")
    if given is not None and (len(reductions) != STAGES or list(given) != sorted(set(given))):
        raise BenchError(
            f"model.backbone_args: out_indices must name {STAGES} feature maps of "
            f"{config.backbone} in ascending order, got {given}"
        )
    if len(reductions) < STAGES:
        raise BenchError(
            f"backbone {config.backbone} has feature maps at strides {reductions}, but four are "
            "needed; use a pyramidal backbone such as a ResNet, ConvNeXt or HRNet, or name four "
            "blocks of a plain ViT (--set 'model.backbone_args={out_indices=[2, 5, 8, 11]}')"
        )
    return given or range(len(reductions))[-STAGES:]


def _create_backbone(config: ModelConfig, indices: Sequence[int]) -> Any:
    """Return the backbone with stages at these positions and its initial weights.

    The feature networks of timm have no common type.
    """
    weights = existing_weights(config.weights) if config.weights else None
    create = partial(
        timm.create_model,
        config.backbone,
        features_only=True,
        pretrained=config.pretrained or weights is not None,
        pretrained_cfg_overlay={"file": str(weights)} if weights else None,
        **{**config.backbone_args, "out_indices": tuple(indices)},
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


def _reductions(config: ModelConfig) -> list[int]:
    """Return the strides of the backbone's feature maps; `out_indices` may choose among them."""
    try:
        full: Any = timm.create_model(config.backbone, features_only=True, **config.backbone_args)
    except Exception as error:  # timm's models raise various errors, assertions among them
        arguments = (
            f" with model.backbone_args {config.backbone_args}" if config.backbone_args else ""
        )
        raise BenchError(
            f"backbone {config.backbone} cannot be built{arguments}: {_one_line(error)}"
        ) from error
    return list(full.feature_info.reduction())


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
        f"the ImageNet weights of {config.backbone_name} with timm's tag {pretrained_tag(config)} "
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
