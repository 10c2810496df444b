"""Presets: the size of a run, read from TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ttt_bench.errors import BenchError, unknown
from ttt_bench.tasks import TASKS
from ttt_bench.util.input.validation import OneOf, Strict, UserPath, validated

PRESETS = ("smoke", "quick", "paper")
SECTIONS = ("model", "data", "training")
"""Sections of a preset that `--set SECTION.key=value` changes."""

LARGEST_COUNT = 100_000_000
"""Largest number of images, iterations or steps; a mistyped number is refused, not begun."""
Count = Annotated[int, Field(gt=0, le=LARGEST_COUNT)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A seed as the results' tables can store it: 0 to 2**63 - 1."""
Size = tuple[int, int]
TaskName = Annotated[str, OneOf("task", tuple(TASKS))]
TestSubset = Literal["first_tenth", "stride10", "all"]
"""Subsets of a target's test images: as published, every tenth, or all of them."""
"""(H, W) in pixels."""


class ModelConfig(Strict):
    """The shared network.

    Attributes:
        architecture: the network on the stages of the backbone, by its name in `networks list`.
        architecture_args: options of the network.
        backbone: a timm model that supports `features_only`; `NAME.TAG` also names the weights to
            start from.
        backbone_args: further arguments of timm's `create_model`, such as `channels` of a ResNet,
            or `out_indices`, the feature maps that are the four stages.
        pretrained: start from timm's ImageNet weights: those of the tag, by default timm's first.
        weights: a local file with the backbone's weights, instead of timm's download.
    """

    architecture: str = "hypercolumn"
    architecture_args: dict[str, Any] = Field(default_factory=dict)
    backbone: str = "resnet50"
    backbone_args: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    weights: UserPath | None = None

    @property
    def backbone_name(self) -> str:
        """Name of the backbone without the tag of its weights."""
        return self.backbone.partition(".")[0]

    @property
    def label(self) -> str:
        """The network in words: architecture and backbone."""
        return f"{self.architecture} on {self.backbone}"

    def untrained(self) -> ModelConfig:
        """Return the same network without weights to load."""
        return self.model_copy(update={"pretrained": False, "weights": None})


class DataSettings(Strict):
    """Number and size of images.

    Attributes:
        rendered_train: number of training images that an embedded source renders.
        rendered_target: number of target images that an embedded target renders; also that of
            held-out source images.
        target_limit: largest number of images of a real target, the first ones; None for all.
        target_split: the target images: "test"; "tune", other images to choose settings on; or, if
            the target is the source's domain, "val", its images that no model is trained on.
        test_subset: the test frames of data sets with subsets (Taskonomy): first_tenth (as
            published), stride10 or all.
        seed: seeds the target's shifts and its stream; the same for every seed of a run.
        workers: number of worker processes that decode real images while training.
        sizes: (H, W) by name of a domain, else by role: "source" or "target".
        tasks: the tasks of the pairs, as a list or joined by commas; None for those of the papers
            that both data sets of a pair have.
    """

    rendered_train: Count
    rendered_target: Count
    target_limit: Count | None = None
    target_split: Literal["test", "tune", "val"] = "test"
    test_subset: TestSubset = "first_tenth"
    seed: Seed = 0
    workers: int = Field(0, ge=0)
    sizes: dict[str, Size]
    tasks: tuple[TaskName, ...] | None = Field(None, min_length=1)

    @field_validator("tasks", mode="before")
    @classmethod
    def _split_tasks(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        for role in ("source", "target"):
            if role not in self.sizes:
                raise ValueError(f"sizes must contain the size of a {role}")
        for name, size in self.sizes.items():
            if min(size) < 16:
                raise ValueError(f"size {size[0]}x{size[1]} of {name} is too small; at least 16x16")
        return self

    def size(self, domain: str, role: str) -> Size:
        """Return (H, W) of a domain in a role."""
        return self.sizes.get(domain, self.sizes[role])


class TrainingSettings(Strict):
    """Source training: two stages of Adam with polynomial decay.

    Attributes:
        batch: images per batch.
        shared_iterations: length of the supervised stage that all source models of a seed start
            from; 0 to omit it.
        iterations: length of the stage of one source model, supervised and with the method's
            auxiliary losses.
        shared_lr: first learning rate of the shared stage.
        lr: first learning rate of the second stage.
        weight_decay: weight decay of both.
        flip: augment the images as the data set does: mirror half of them, or its published recipe.
    """

    batch: Count
    shared_iterations: int = Field(ge=0, le=LARGEST_COUNT)
    iterations: Count
    shared_lr: float = Field(gt=0)
    lr: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    flip: bool = True


class Preset(Strict):
    """The size of a run: backbone, image sizes, iterations, number of images, steps.

    Attributes:
        description: one sentence for listings.
        model: the shared network.
        data: number and size of images.
        training: source training.
        steps: adaptation steps per batch; None for each method's default.
        batch: target images per batch.
        methods: method -> its options, optimiser settings and `steps` in this preset.
    """

    description: str
    model: ModelConfig
    data: DataSettings
    training: TrainingSettings
    steps: Count | None = None
    batch: Count = 8
    methods: dict[str, dict[str, Any]] = Field(default_factory=dict)


def read_preset(name: str) -> dict[str, Any]:
    """Return the content of a preset's file.

    Raises:
        BenchError: no preset has that name.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    path = files("ttt_bench.config").joinpath("presets", f"{name}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def default_preset(*, embedded: bool) -> str:
    """Return the preset of a pair by default; `embedded`: both domains are embedded."""
    return "quick" if embedded else "paper"


def resolve_preset(name: str, settings: Mapping[str, Any]) -> Preset:
    """Return a preset with the request's settings that do not belong to a method.

    Args:
        name: the preset.
        settings: `section.key` -> value; other sections than those of a preset are ignored.

    Raises:
        BenchError: a section or key is unknown, or a value is not allowed.
    """
    raw = read_preset(name)
    for key, value in settings.items():
        path = key.split(".")
        if path[0] in ("batch", *SECTIONS):
            raw = _with_value(raw, path, value, setting=key)
    return validated(Preset, raw, "setting {}".format)


def _with_value(
    table: Mapping[str, Any], path: Sequence[str], value: Any, *, setting: str
) -> dict[str, Any]:
    """Return the table with the entry at a path of keys replaced or added."""
    key, *rest = path
    if not rest:
        return {**table, key: value}
    inner = table.get(key, {})
    if not isinstance(inner, dict):
        raise BenchError(
            f"setting {setting}: {key} is a single value ({inner!r}); omit .{'.'.join(rest)}"
        )
    return {**table, key: _with_value(inner, rest, value, setting=setting)}
