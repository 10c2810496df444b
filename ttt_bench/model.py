"""The shared multi-task network: one timm backbone, a fused hypercolumn, one 1x1 convolution a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import timm
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers.format import Format
from timm.models import FeatureListNet
from torch import Tensor, nn

from ttt_bench.config import ModelConfig
from ttt_bench.errors import BenchError
from ttt_bench.provenance import hash_file

STAGES = 4
STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unscaled": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation that images in [0, 1] are normalised with: ImageNet's, or those that give [-1, 1]."""


class Net(nn.Module):
    """The shared network with a method's extra modules (None where it has none)."""

    def __init__(self, model: MultiTaskModel, extra: nn.Module | None) -> None:
        super().__init__()
        self.model = model
        self.extra = extra


class Counts(NamedTuple):
    """Trainable parameters of a network."""

    backbone: int
    heads: int
    added: int

    @property
    def total(self) -> int:
        return sum(self)


class MultiTaskModel(nn.Module):
    """RGB in [0, 1] to every task's output at the image's size.

    The four stages s1..s4 (B, C_l, H/2^(l+1), W/2^(l+1)) are resized to the size of s1 (bilinear) and concatenated to
    the hypercolumn (B, sum C_l, H/4, W/4); a head is a 1x1 convolution on it, resized to (H, W). A 1x1 convolution
    commutes with bilinear resizing, so `project` applies it stage by stage and never builds the hypercolumn (2 GB for
    eight images of 448x576 with ResNet-50).

    Attributes:
        tasks: task -> output channels, in canonical order.
        channels: channels of each stage.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, channels: Sequence[int], tasks: Mapping[str, int]) -> None:
        super().__init__()
        self.backbone = backbone
        # some of timm's transformers give (B, H, W, C)
        self._channels_last = getattr(backbone, "output_fmt", Format.NCHW) == Format.NHWC
        self.channels = tuple(channels)
        self.tasks = dict(tasks)
        width = sum(self.channels)
        self.heads = nn.ModuleDict({task: nn.Conv2d(width, outputs, 1) for task, outputs in self.tasks.items()})
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in STATISTICS["imagenet"])
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def normalise_by(self, statistics: str) -> None:
        """Normalise images with these of `STATISTICS` from now on."""
        for buffer, values in zip((self.mean, self.std), STATISTICS[statistics], strict=True):
            buffer.copy_(torch.tensor(values).view(1, 3, 1, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """RGB in [0, 1] to what the backbone expects."""
        return (images - self.mean) / self.std

    def stages(self, images: Tensor, last: int = STAGES) -> list[Tensor]:
        """The features s1..s`last` (B, C_l, h_l, w_l); nothing behind the last one wanted is computed."""
        x = self.normalise(images)
        if not isinstance(self.backbone, FeatureListNet):
            features = list(self.backbone(x))[:last]
        else:
            features = []
            for name, module in self.backbone.items():
                x = module(x)
                if name in self.backbone.return_layers:
                    features.append(x)
                    if len(features) == last:
                        break
        return [x.permute(0, 3, 1, 2) for x in features] if self._channels_last else features

    def upstream(self, last: int) -> tuple[str, ...]:
        """Names of the parameters that s1..s`last` depend on; all of the backbone's where timm cannot tell."""
        below: list[str] = []
        reached = 0
        for name, module in self.backbone.named_children():
            below += [f"backbone.{name}.{parameter}" for parameter, _ in module.named_parameters()]
            reached += isinstance(self.backbone, FeatureListNet) and name in self.backbone.return_layers
            if reached == last:
                break
        return tuple(below)

    def pooled(self, stages: Sequence[Tensor]) -> Tensor:
        """The hypercolumn's mean over all places, (B, sum C_l), without building it.

        Bilinear resizing keeps a stage's mean where its size divides that of s1, as it does for images whose sides are
        multiples of 32; elsewhere the weights that resizing gives to its pixels are applied to it.
        """
        size = stages[0].shape[-2:]
        return torch.cat([_resized_mean(stage, size) for stage in stages], dim=1)

    def hypercolumn(self, stages: Sequence[Tensor]) -> Tensor:
        """The stages at the size of the first, concatenated: (B, sum C_l, H/4, W/4). Large: see the class's text."""
        size = stages[0].shape[-2:]
        return torch.cat([resize(stage, size) for stage in stages], dim=1)

    def project(self, stages: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """A 1x1 convolution of the hypercolumn, (B, outputs, H/4, W/4), equal to the definition up to rounding.

        Args:
            stages: s1..s4.
            weight: (outputs, sum C_l, 1, 1).
            bias: (outputs,).
        """
        size = stages[0].shape[-2:]
        first, *rest = weight.split(self.channels, dim=1)
        fused = F.conv2d(stages[0], first, bias)
        for stage, part in zip(stages[1:], rest, strict=True):
            fused = fused + resize(F.conv2d(stage, part), size)
        return fused

    def outputs(self, stages: Sequence[Tensor], size: Sequence[int]) -> dict[str, Tensor]:
        """Every task's raw output (B, K, H, W) at `size` = (H, W), from the stages."""
        heads = [cast(nn.Conv2d, self.heads[task]) for task in self.tasks]
        weight = torch.cat([head.weight for head in heads])
        bias = torch.cat([cast(Tensor, head.bias) for head in heads])
        fused = resize(self.project(stages, weight, bias), size)
        return dict(zip(self.tasks, fused.split(list(self.tasks.values()), dim=1), strict=True))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) in [0, 1] -> task -> (B, K, H, W): logits, depth, unnormalised vectors, edge values."""
        return self.outputs(self.stages(images), images.shape[-2:])


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) -> (B, C, *size), bilinear without aligned corners."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def linear_weights(length: int, wanted: int, like: Tensor) -> Tensor:
    """(wanted, length): what each of `length` places contributes when `resize` makes `wanted` of them."""
    identity = torch.eye(length, dtype=like.dtype, device=like.device)
    return F.interpolate(identity[None], size=wanted, mode="linear", align_corners=False)[0].T


def _resized_mean(x: Tensor, size: Sequence[int]) -> Tensor:
    if all(wanted % length == 0 for wanted, length in zip(size, x.shape[-2:], strict=True)):
        return x.mean(dim=(2, 3))
    rows, columns = (
        linear_weights(length, wanted, x).mean(dim=0) for length, wanted in zip(x.shape[-2:], size, strict=True)
    )
    return torch.einsum("bchw,h,w->bc", x, rows, columns)


def count_parameters(net: Net, uncounted: Sequence[str] = ()) -> Counts:
    """Trainable parameters, as S4T counts them (`uncounted`: names in `extra` that belong to the training recipe)."""

    def count(module: nn.Module | None, without: Sequence[str] = ()) -> int:
        named = module.named_parameters() if module is not None else ()
        return sum(p.numel() for name, p in named if p.requires_grad and name not in without)

    return Counts(count(net.model.backbone), count(net.model.heads), count(net.extra, uncounted))


def build_model(config: ModelConfig, tasks: Mapping[str, int]) -> MultiTaskModel:
    """The shared network of a configuration; heads (and a backbone from scratch) use the global random state.

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
        # a method may look at a layer's output in a hook; an in-place activation would overwrite what it saw
        if hasattr(module, "inplace"):
            module.inplace = False
    return MultiTaskModel(backbone, backbone.feature_info.channels(), tasks)


def _create_backbone(config: ModelConfig) -> nn.Module:
    if not timm.is_model(config.backbone):
        near = get_close_matches(config.backbone, timm.list_models(), n=5, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}? " if near else ""
        raise BenchError(f"unknown backbone {config.backbone!r}; {hint}(timm.list_models() names them all)")
    if config.weights and not config.weights.is_file():
        raise BenchError(f"backbone weights {config.weights}: no such file")
    failures = (RuntimeError, OSError, ValueError, TypeError, SafetensorError)
    try:
        full: Any = timm.create_model(config.backbone, features_only=True, **config.backbone_args)
    except failures as error:
        settings = f" with model.backbone_args {config.backbone_args}" if config.backbone_args else ""
        raise BenchError(f"backbone {config.backbone} cannot be built{settings}: {_reason(error)}") from error
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


def _check_all_loaded(config: ModelConfig, backbone: nn.Module, create: Callable[[], nn.Module]) -> None:
    """Refuse a file that lacks some of the backbone: timm passes over what is missing where it wants features only."""
    with torch.random.fork_rng(devices=[]):
        again = create().state_dict()
    # what did not come from the file came from the random state, which has moved on
    lacking = [name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, again[name])]
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
    """What an error says, on one line of bounded length (PyTorch lists every key that does not fit)."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 240 else f"{text[:240]} ..."


def initial_weights(config: ModelConfig) -> dict[str, str | None]:
    """Which weights a backbone starts from: the hash of a local file, timm's tag, or neither."""
    if config.weights:
        if not config.weights.is_file():
            raise BenchError(f"backbone weights {config.weights}: no such file")
        return {"weights": hash_file(config.weights)}
    tag = timm.get_pretrained_cfg(config.backbone, allow_unregistered=True) if config.pretrained else None
    return {"weights": f"timm {tag.tag}" if tag else None}


def load_weights(model: MultiTaskModel, path: Path) -> None:
    """Load a complete network (backbone and heads) from a safetensors file.

    Raises:
        BenchError: the file is missing, is no safetensors file, or does not fit the network; the message names keys.
    """
    if not path.is_file():
        raise BenchError(f"source weights {path}: no such file")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BenchError(f"source weights {path}: not a readable safetensors file ({error})") from error
    own = model.state_dict()
    missing = [name for name in own if name not in tensors and name not in ("mean", "std")]
    unexpected = [name for name in tensors if name not in own]
    shapes = [
        f"{n} is {tuple(t.shape)}, needs {tuple(own[n].shape)}"
        for n, t in tensors.items()
        if n in own and own[n].shape != t.shape
    ]
    problems = [f"missing {', '.join(missing[:3])}" + _more(missing)] if missing else []
    problems += [f"unexpected {', '.join(unexpected[:3])}" + _more(unexpected)] if unexpected else []
    problems += [f"wrong shape: {', '.join(shapes[:3])}" + _more(shapes)] if shapes else []
    if problems:
        raise BenchError(f"source weights {path} do not fit the network: {'; '.join(problems)}")
    model.load_state_dict(tensors, strict=False)


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 3} more" if len(names) > 3 else ""
