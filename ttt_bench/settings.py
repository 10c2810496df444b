"""A method's settings for one run: options, optimiser and steps, resolved with the precedence of `config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ttt_bench.adapter import Adapter, Optimiser
from ttt_bench.config import Preset, Request, validated
from ttt_bench.errors import BenchError, unknown

_OPTIMISER = frozenset(Optimiser.model_fields)


@dataclass(frozen=True)
class MethodSettings:
    """How one method is run.

    Attributes:
        adapter: the method with its options.
        steps: adaptation steps a batch.
        changed: what was set beside preset and hparams, `method.key` -> value.
    """

    adapter: Adapter
    optimiser: Optimiser
    steps: int
    changed: dict[str, Any]


def resolve_method(method: type[Adapter], preset: Preset, request: Request) -> MethodSettings:
    """Settings of a method under a preset and a request.

    Raises:
        BenchError: an unknown option (with the nearest names), or a value out of range (with what is allowed).
    """
    hparams = method.original if request.hparams == "original" else method.paper
    values: dict[str, Any] = {**hparams.optimiser.model_dump(), "steps": hparams.steps, **hparams.options}
    values.update(_preset_values(method.name, preset, original=request.hparams == "original"))
    changed = {k: v for k, v in request.set.items() if k.startswith(f"{method.name}.")}
    values.update({key.removeprefix(f"{method.name}."): value for key, value in changed.items()})
    if request.steps is not None:
        values["steps"] = request.steps
    known = {*_OPTIMISER, "steps", *method.Options.model_fields}
    for key in values.keys() - known:
        raise BenchError(f"{method.name}.{key}: {unknown('option', key, known)}")
    steps = values.pop("steps")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise BenchError(f"{method.name}.steps: a whole number of at least 1 is needed, got {steps!r}")
    prefix = f"{method.name}."
    optimiser = validated(Optimiser, {k: v for k, v in values.items() if k in _OPTIMISER}, prefix)
    options = validated(method.Options, {k: v for k, v in values.items() if k not in _OPTIMISER}, prefix)
    return MethodSettings(method(options), optimiser, steps, changed)


def _preset_values(name: str, preset: Preset, original: bool) -> Mapping[str, Any]:
    own = preset.methods.get(name, {})
    if original:
        # the authors' optimiser and steps stand; options that fit the network to the preset's image size stay
        return {key: value for key, value in own.items() if key not in _OPTIMISER and key != "steps"}
    return {"steps": preset.steps, **own} if preset.steps is not None else own


def describe_changes(request: Request, changed: Mapping[str, Any]) -> str:
    """The `settings` column: what was set beside preset and hparams, 'key=value' joined by '; '.

    `changed` are the method's own settings; those of other methods do not concern its rows.
    """
    shared = {k: v for k, v in request.set.items() if k.partition(".")[0] in ("model", "data", "training", "batch")}
    entries = {**shared, **changed}
    if request.steps is not None:
        entries["steps"] = request.steps
    if request.source_weights is not None:
        entries["source_weights"] = request.source_weights.name
    return "; ".join(f"{key}={value}" for key, value in sorted(entries.items()))
