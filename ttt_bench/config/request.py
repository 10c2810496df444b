"""The request: everything that one run is asked to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, Field

from ttt_bench.config.preset import PRESETS, Seed
from ttt_bench.protocols import CONTROLS, PROTOCOLS
from ttt_bench.protocols import DEFAULT as DEFAULT_PROTOCOL
from ttt_bench.util.input.validation import OneOf, ResultsPath, Strict, UserPath, allowed_values

HPARAMS = ("paper", "original", "tuned")
"""The sets of hyperparameters; the first one is the default."""
VARIANTS = ("corrected", "official")
"""Names of the data variants (`ttt_bench.data.variants`); the first one is the default."""

KERNELS = ("default", "deterministic")
"""Levels of the kernels; the first one is the default."""

MAX_STEPS = 100_000
"""Largest number of adaptation steps per batch."""


def _check_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError("must be auto, cpu, cuda, or cuda:N")
    return name


class Request(Strict):
    """The settings of one run.

    The command line, config files and `ttt_bench.run` use the names of these fields. The command
    line shows their descriptions and defaults. `choices` returns the values that a field allows.
    """

    methods: tuple[str, ...] = Field(
        ("all",),
        min_length=1,
        description="Methods: names joined by commas (base,tent), or groups: all (the papers' "
        "eleven), more (further ones of this package), everything (all installed).",
    )
    pair: tuple[str, ...] = Field(
        ("rooms:rooms-mix",),
        min_length=1,
        description="Domain pair, source:target. The target may have shifts "
        "(taskonomy:nyud+fog@s3). May be given several times.",
    )
    seeds: tuple[Seed, ...] = Field(
        (0,), min_length=1, description="Random seeds, joined by commas (0,1,2)."
    )
    steps: int | None = Field(
        None,
        gt=0,
        le=MAX_STEPS,
        description="Adaptation steps per batch. Default: set by the preset or by --hparams.",
    )
    protocol: tuple[Annotated[str, OneOf("protocol", tuple(PROTOCOLS))], ...] = Field(
        (DEFAULT_PROTOCOL,),
        min_length=1,
        description="Protocols joined by commas: when the network is reset, and on what it adapts.",
    )
    control: tuple[Annotated[str, OneOf("control", CONTROLS)], ...] = Field(
        (CONTROLS[0],),
        min_length=1,
        description="Controls joined by commas. frozen sets the learning rate to 0, which shows "
        "the effect of a method's normalisation alone.",
    )
    preset: Annotated[str, OneOf("preset", PRESETS)] | None = Field(
        None,
        description="Size of a run: backbone, image sizes, iterations, images and steps. Default: "
        "quick if both domains are embedded, else paper.",
    )
    hparams: Annotated[str, OneOf("hparams", HPARAMS)] = Field(
        HPARAMS[0],
        description="Hyperparameters: S4T's common protocol (paper), those of each method's "
        "authors (original), or those that `ttt-bench tune` has chosen (tuned, with --tuned).",
    )
    tuned: UserPath | None = Field(
        None, description="File of `ttt-bench tune`, for --hparams tuned. Default: no file."
    )
    data_variant: Annotated[str, OneOf("data variant", VARIANTS)] = Field(
        VARIANTS[0],
        description="Data handling. official reproduces the defects of the S4T code.",
    )
    stream: str = Field(
        "fixed",
        description="Order of the target's images: fixed, shuffled, continual:SHIFT,SHIFT,... or "
        "mixed:SHIFT,SHIFT,...",
    )
    label_space: str | None = Field(
        None,
        description="Classes of semantic segmentation; `ttt-bench data list` shows the choices. "
        "Default: the first label space that every data set has.",
    )
    label_spaces: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Custom label spaces by name (`ttt_bench.data.label_spaces.label_space_from`).",
    )
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="One setting, section.key=value (s4t.mask_ratio=0.5). Takes precedence over "
        "presets. May be given several times.",
    )
    agreement: bool = Field(
        default=False,
        description="Measure how far the predictions of every scored step agree with those of the "
        "mirror images, for step rules without labels. It costs one forward pass per step and "
        "changes no score.",
    )
    device: Annotated[str, AfterValidator(_check_device)] = Field(
        "auto", description="Device: auto, cpu, cuda, or cuda:N."
    )
    deterministic: bool = Field(
        default=False,
        description="Use deterministic kernels only, also in source training, so that every run on "
        "one kind of device with one number of threads gives equal numbers. An operation without "
        "such a kernel fails its cell. Slower on a GPU.",
    )
    results: ResultsPath = Field(
        Path("results/run"), description="Results folder, or the URL of one (s3://bucket/run)."
    )
    data_root: UserPath | None = Field(
        None,
        description="Folder that contains the data sets' folders (taskonomy/, nyud/, pascal/). "
        "Default: the environment variable TTT_BENCH_DATA.",
    )
    source_weights: UserPath | None = Field(
        None,
        description="Safetensors file with the weights of a source model, used in place of source "
        "training. Default: train the source model.",
    )
    launcher: str = Field(
        "local",
        description="Launcher of the worker processes: local, or one of another package or extra "
        "(ray, slurm).",
    )
    workers: int = Field(
        1,
        gt=0,
        le=10_000,
        description="Worker processes that share the cells. The rows do not depend on it. With the "
        "launcher local, 1 means this process.",
    )
    shards: int = Field(
        1,
        gt=0,
        le=10_000,
        description="Parts that every cell of the protocol episodic is split into, so that several "
        "workers share its batches. The rows do not depend on it.",
    )
    launcher_option: dict[str, Any] = Field(
        default_factory=dict,
        description="One option of the launcher, key=value (partition=gpu). May be given several "
        "times.",
    )
    threads: int | None = Field(
        None,
        gt=0,
        le=1024,
        description="CPU threads of each process. On a CPU the last digits of numbers depend on "
        "it. Default: that of PyTorch on this machine.",
    )
    train_devices: int = Field(
        1,
        ge=1,
        le=64,
        description="Devices that train a source model together: --device and the GPUs after it, "
        "or as many processes on the CPU.",
    )
    check: bool = Field(
        default=True,
        description="Check methods and networks of other packages before they run, once per "
        "version of their code (`ttt-bench methods check`, `networks check`). Rows of those that "
        "fail or are not checked are marked.",
    )

    @property
    def kernels(self) -> str:
        """The level of the kernels, one of `KERNELS`."""
        return KERNELS[self.deterministic]

    @property
    def in_this_process(self) -> bool:
        """Whether the cells are computed in this process, without worker processes."""
        return self.launcher == "local" and self.workers == 1


def choices(field: str) -> tuple[str, ...]:
    """Return the allowed values of a request's field; empty if it is not a closed choice."""
    return allowed_values(get_type_hints(Request, include_extras=True)[field])
