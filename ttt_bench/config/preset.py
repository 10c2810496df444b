"""Presets: the size of a run, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ttt_bench.config.validation import Strict, validated
from ttt_bench.errors import BenchError, unknown

PRESETS = ("smoke", "quick", "paper")
Size = tuple[int, int]


class ModelConfig(Strict):
    """What the shared network is made of.

    Attributes:
        backbone: a timm model that offers `features_only`.
        backbone_args: further arguments of timm's `create_model` (such as `channels` of a ResNet).
        pretrained: start from timm's ImageNet weights.
        weights: a local file with the backbone's weights, in place of timm's download.
    """

    backbone: str = "resnet50"
    backbone_args: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    weights: Path | None = None

    def untrained(self) -> ModelConfig:
        """The same network without weights to load."""
        return self.model_copy(update={"pretrained": False, "weights": None})


class DataSettings(Strict):
    """How many images, and at which size.

    Attributes:
        rendered_train: training images that an embedded source renders.
        rendered_target: target images that an embedded target renders (and held-out source images).
        target_split: which target images: "test", or "tune", other ones to choose settings on.
        target_limit: at most so many images of a real target, the first ones; None for all.
        test_subset: which of Taskonomy's test frames: first_tenth (as published), stride10 or all.
        seed: draws the randomness of the target's shifts and of its stream; the same for every seed
        of a run.
        workers: worker processes that decode real images while training.
        sizes: (H, W) of a domain by its name, else by its role: "source" or "target".
    """

    rendered_train: int = Field(gt=0)
    rendered_target: int = Field(gt=0)
    target_limit: int | None = Field(None, gt=0)
    target_split: Literal["test", "tune"] = "test"
    test_subset: Literal["first_tenth", "stride10", "all"] = "first_tenth"
    seed: int = 0
    workers: int = Field(0, ge=0)
    sizes: dict[str, Size]

    @model_validator(mode="after")
    def _roles(self) -> Self:
        for role in ("source", "target"):
            if role not in self.sizes:
                raise ValueError(f"sizes must name the size of a {role}")
        for name, size in self.sizes.items():
            if min(size) < 16:
                raise ValueError(f"size {size[0]}x{size[1]} of {name} is too small; at least 16x16")
        return self

    def size(self, domain: str, role: str) -> Size:
        """(H, W) of a domain in a role."""
        return self.sizes.get(domain, self.sizes[role])


class TrainingSettings(Strict):
    """Source training, two stretches of Adam with polynomial decay, each from its own first
    learning rate.

    Attributes:
        shared_iterations: a supervised stretch that every source model of a seed starts from; 0 for
        none.
        iterations: the stretch of one source model: supervised, with the method's auxiliary losses
        where it has any.
        flip: augment the images as the data set does: mirror half of them, or its own published
        recipe.
    """

    batch: int = Field(gt=0)
    shared_iterations: int = Field(ge=0)
    iterations: int = Field(gt=0)
    shared_lr: float = Field(gt=0)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    flip: bool = True


class Preset(Strict):
    """How much: network, sizes, iterations, images and steps."""

    description: str
    model: ModelConfig
    data: DataSettings
    training: TrainingSettings
    steps: int | None = Field(None, gt=0)
    batch: int = Field(8, gt=0)
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)


SECTIONS = ("model", "data", "training")


def read_preset(name: str) -> dict[str, Any]:
    """A preset as its file states it.

    Raises:
        BenchError: no such preset.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return tomllib.loads(
        files("ttt_bench.config").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8")
    )


def resolve_preset(name: str, settings: Mapping[str, Any]) -> Preset:
    """A preset with the settings that are not a method's laid over it.

    Raises:
        BenchError: an unknown section or key, or a value that does not fit.
    """
    raw = read_preset(name)
    for key, value in settings.items():
        section, _, field = key.partition(".")
        if key == "batch":
            raw["batch"] = value
        elif section in SECTIONS:
            _assign(raw[section], field.split("."), value)
    return validated(Preset, raw, "--set ")


def _assign(target: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        inner = target.setdefault(part, {})
        if not isinstance(inner, dict):
            raise BenchError(
                f"--set {'.'.join(path)}: {part} is a single value ({inner!r}) and has no parts"
            )
        target = inner
    target[path[-1]] = value
