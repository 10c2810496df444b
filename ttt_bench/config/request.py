"""What a run is asked to do: presets, config files and command-line settings, resolved with one
precedence.

Command line over config file over preset over hparams, except that `--hparams original` brings its
own optimiser and
steps: a preset's optimiser settings are left out there, its options (such as a smaller patch on
small images) stay.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ttt_bench.config.preset import PRESETS
from ttt_bench.config.validation import Strict, validated
from ttt_bench.errors import BenchError, unknown
from ttt_bench.protocols import DEFAULT as DEFAULT_PROTOCOL
from ttt_bench.protocols import PROTOCOLS

HPARAMS = ("paper", "original")
VARIANTS = ("corrected", "official")
CONTROLS = ("none", "frozen")


class Request(Strict):
    """The settings of one run.

    The command line, config files and `ttt_bench.run` use the names of these fields. The command
    line shows their descriptions and defaults.
    """

    methods: tuple[str, ...] = Field(
        ("all",), min_length=1, description="Methods: all, or names joined by commas (base,tent)."
    )
    pair: tuple[str, ...] = Field(
        ("rooms:rooms-mix",),
        min_length=1,
        description="Domain pair, source:target. The target may have shifts "
        "(taskonomy:nyud+fog@s3). May be given several times.",
    )
    seeds: tuple[int, ...] = Field(
        (0,), min_length=1, description="Random seeds, joined by commas (0,1,2)."
    )
    steps: int | None = Field(
        None,
        gt=0,
        description="Adaptation steps per batch. Default: set by the preset or by --hparams.",
    )
    protocol: tuple[str, ...] = Field(
        (DEFAULT_PROTOCOL,),
        min_length=1,
        description=f"Protocols joined by commas: {', '.join(PROTOCOLS)}.",
    )
    control: tuple[Literal["none", "frozen"], ...] = Field(
        ("none",),
        min_length=1,
        description="Controls joined by commas: none; frozen (learning rate 0, which shows the "
        "effect of a method's normalisation alone).",
    )
    preset: Literal["smoke", "quick", "paper"] | None = Field(
        None,
        description="Size of a run: smoke, quick or paper. Default: quick if both domains are "
        "embedded, else paper.",
    )
    hparams: Literal["paper", "original"] = Field(
        "paper",
        description="Hyperparameters: paper (S4T's common protocol), or original (those of each "
        "method's authors).",
    )
    data_variant: Literal["corrected", "official"] = Field(
        "corrected",
        description="Data handling: corrected, or official (reproduces the defects of the S4T "
        "code).",
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
    device: str = Field("auto", description="Device: auto, cpu, cuda, or cuda:N.")
    results: Path = Field(Path("results/run"), description="Results folder.")
    data_root: Path | None = Field(
        None,
        description="Folder that contains the data sets' folders (taskonomy/, nyud/, pascal/). "
        "Default: the environment variable TTT_BENCH_DATA.",
    )
    source_weights: Path | None = Field(
        None,
        description="Safetensors file with the weights of a source model, used in place of source "
        "training. Default: train the source model.",
    )


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value` of `--set`; the value is read as TOML, and as text where it is none.

    Raises:
        BenchError: not of that form.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key or ("." not in key and key != "batch"):
        raise BenchError(
            f"--set takes section.key=value (such as s4t.mask_ratio=0.5), got {text!r}"
        )
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
            raise BenchError(
                f"config file {path}: set must be a table, such as [set.s4t] with mask_ratio = 0.5"
            )
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
    for key, known in (("protocol", [*PROTOCOLS]), ("control", [*CONTROLS])):
        for name in merged.get(key, ()):
            if name not in known:
                raise unknown(key, str(name), known)
