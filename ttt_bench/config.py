"""What a run is asked to do: presets, config files and command-line settings, resolved with one precedence.

Command line over config file over preset over hparams, except that `--hparams original` brings its own optimiser and
steps: a preset's optimiser settings are left out there, its options (such as a smaller patch on small images) stay.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ttt_bench.errors import BenchError, unknown

PRESETS = ("smoke", "quick", "paper")
HPARAMS = ("paper", "original")
VARIANTS = ("corrected", "official")
PROTOCOLS = ("online", "episodic", "single-batch")
CONTROLS = ("none", "frozen")
Size = tuple[int, int]


class Strict(BaseModel):
    """A frozen record in which a name that is not declared is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelConfig(Strict):
    """What the shared network is made of.

    Attributes:
        backbone: a timm model that offers `features_only`.
        backbone_args: further arguments of timm's `create_model` (such as `channels` of a ResNet).
        pretrained: start from timm's ImageNet weights.
        weights: a local file with the backbone's weights, in place of timm's download.
    """

    backbone: str = "resnet50"
    backbone_args: dict[str, Any] = {}
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
        seed: draws the randomness of the target's shifts and of its stream; the same for every seed of a run.
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
    """Source training, two stretches of Adam with polynomial decay, each from its own first learning rate.

    Attributes:
        shared_iterations: a supervised stretch that every source model of a seed starts from; 0 for none.
        iterations: the stretch of one source model: supervised, with the method's auxiliary losses where it has any.
        flip: augment the images as the data set does: mirror half of them, or its own published recipe.
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
    methods: dict[str, dict[str, Any]] = {}


class Request(Strict):
    """One call of `run`, as a person writes it; config files use the same names.

    Attributes:
        stream: in which order the target's images come, and under which shifts (`ttt_bench.data.streams`).
        label_space: the classes of semantic segmentation; None for those that the pair's data sets share.
        label_spaces: label spaces of the user's own (`ttt_bench.data.label_spaces.label_space_from`).
        set: `section.key` or `method.key` -> value, over everything else.
    """

    methods: tuple[str, ...] = Field(("all",), min_length=1)
    pair: tuple[str, ...] = Field(("rooms:rooms-mix",), min_length=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    steps: int | None = Field(None, gt=0)
    protocol: tuple[Literal["online", "episodic", "single-batch"], ...] = Field(("online",), min_length=1)
    control: tuple[Literal["none", "frozen"], ...] = Field(("none",), min_length=1)
    preset: Literal["smoke", "quick", "paper"] | None = None
    hparams: Literal["paper", "original"] = "paper"
    data_variant: Literal["corrected", "official"] = "corrected"
    stream: str = "fixed"
    label_space: str | None = None
    label_spaces: dict[str, dict[str, Any]] = {}
    set: dict[str, Any] = {}
    device: str = "auto"
    results: Path = Path("results/run")
    data_root: Path | None = None
    source_weights: Path | None = None


SECTIONS = ("model", "data", "training")


def read_preset(name: str) -> dict[str, Any]:
    """A preset as its file states it.

    Raises:
        BenchError: no such preset.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return tomllib.loads(files("ttt_bench").joinpath("presets", f"{name}.toml").read_text(encoding="utf-8"))


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
            raise BenchError(f"--set {'.'.join(path)}: {part} is a single value ({inner!r}) and has no parts")
        target = inner
    target[path[-1]] = value


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value` of `--set`; the value is read as TOML, and as text where it is none.

    Raises:
        BenchError: not of that form.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or ("." not in key and key != "batch"):
        raise BenchError(f"--set takes section.key=value (such as s4t.mask_ratio=0.5), got {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value.strip()


def read_config_file(path: Path) -> dict[str, Any]:
    """A config file's entries, with nested `[set.NAME]` tables flattened to `NAME.key`.

    Raises:
        BenchError: missing, or not TOML (with the place).
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BenchError(f"config file {path}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BenchError(f"config file {path}: {error}") from error
    entries = {key.replace("-", "_"): value for key, value in raw.items()}
    for name in entries.keys() - Request.model_fields.keys():
        raise BenchError(f"config file {path}: {unknown('option', name, Request.model_fields)}")
    if "set" in entries:
        if not isinstance(entries["set"], dict):
            raise BenchError(f"config file {path}: set must be a table, such as [set.s4t] with mask_ratio = 0.5")
        entries["set"] = dict(_flatten(entries["set"]))
    return entries


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def default_data_root() -> Path | None:
    """The data root that the environment variable TTT_BENCH_DATA names, if any."""
    root = os.environ.get("TTT_BENCH_DATA")
    return Path(root) if root else None


def make_request(config: Mapping[str, Any], command_line: Mapping[str, Any]) -> Request:
    """One request from a config file's entries and the command line's (None: not given), which win.

    A data root that neither names is looked for in the environment variable TTT_BENCH_DATA.

    Raises:
        BenchError: a value that does not fit, with what is allowed.
    """
    given = {key: value for key, value in command_line.items() if value is not None}
    merged = {
        "data_root": default_data_root(),
        **config,
        **given,
        "set": {**config.get("set", {}), **given.get("set", {})},
    }
    for key in ("methods", "pair", "protocol", "control", "seeds"):
        if isinstance(merged.get(key), str):
            merged[key] = [part.strip() for part in merged[key].split(",") if part.strip()]
        elif key in merged and not isinstance(merged[key], list | tuple):
            merged[key] = [merged[key]]
        if isinstance(merged.get(key), list | tuple):
            merged[key] = list(dict.fromkeys(merged[key]))
    _check_choices(merged)
    return validated(Request, merged, "--")


def _check_choices(merged: Mapping[str, Any]) -> None:
    choices = (
        ("preset", "preset", PRESETS),
        ("hparams", "hparams", HPARAMS),
        ("data_variant", "data variant", VARIANTS),
    )
    for key, kind, allowed in choices:
        if merged.get(key) is not None and merged[key] not in allowed:
            raise unknown(kind, str(merged[key]), allowed)
    for key, allowed in (("protocol", PROTOCOLS), ("control", CONTROLS)):
        for name in merged.get(key, ()):
            if name not in allowed:
                raise unknown(key, str(name), allowed)


Record = TypeVar("Record", bound=BaseModel)


def validated(record: type[Record], values: Mapping[str, Any], prefix: str) -> Record:
    """`record(**values)`, with pydantic's complaints as one line each.

    Raises:
        BenchError: a name that is not declared (with the nearest), or a value out of range.
    """
    try:
        return record(**values)
    except ValidationError as error:
        raise BenchError("; ".join(_complaints(record, error, prefix))) from error


def _complaints(record: type[BaseModel], error: ValidationError, prefix: str) -> Iterable[str]:
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            owner = _record_at(record, problem["loc"][:-1])
            yield f"{prefix}{place}: {unknown('setting', str(problem['loc'][-1]), owner.model_fields)}"
        else:
            shown = f", got {problem['input']!r}" if problem["type"] != "missing" and problem["loc"] else ""
            message = problem["msg"].removeprefix("Value error, ")
            yield f"{prefix}{place}: {message}{shown}" if place else message


def _record_at(record: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel]:
    for part in path:
        annotation = record.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            record = annotation
    return record
