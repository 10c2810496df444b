"""A method's settings for one run: options, optimiser and steps, resolved with the precedence of
`config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ttt_bench.adapter import Adapter, Optimiser
from ttt_bench.config.preset import Preset, resolve_preset
from ttt_bench.config.request import Request
from ttt_bench.config.validation import validated
from ttt_bench.errors import BenchError, unknown

_OPTIMISER = frozenset(Optimiser.model_fields)
_NO_NUMBER = frozenset({"data.workers"})
"""Settings that no number depends on."""


@dataclass(frozen=True)
class MethodSettings:
    """How one method is run.

    Attributes:
        adapter: the method with its options.
        steps: adaptation steps a batch.
    """

    adapter: Adapter
    optimiser: Optimiser
    steps: int

    def values(self) -> dict[str, Any]:
        """Options and optimiser settings by name."""
        return {
            **self.optimiser.model_dump(mode="json"),
            **self.adapter.options.model_dump(mode="json"),
        }


def resolve_method(method: type[Adapter], preset: Preset, request: Request) -> MethodSettings:
    """Settings of a method under a preset and a request.

    Raises:
        BenchError: an unknown option (with the nearest names), or a value out of range (with what
        is allowed).
    """
    hparams = method.original if request.hparams == "original" else method.paper
    values: dict[str, Any] = {
        **hparams.optimiser.model_dump(),
        "steps": hparams.steps,
        **hparams.options,
    }
    values.update(_preset_values(method.name, preset, original=request.hparams == "original"))
    prefix = f"{method.name}."
    values.update(
        {k.removeprefix(prefix): v for k, v in request.set.items() if k.startswith(prefix)}
    )
    if request.steps is not None:
        values["steps"] = request.steps
    known = {*_OPTIMISER, "steps", *method.Options.model_fields}
    for key in values.keys() - known:
        raise BenchError(f"{method.name}.{key}: {unknown('option', key, known)}")
    steps = values.pop("steps")
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
        raise BenchError(
            f"{method.name}.steps: a whole number of at least 1 is needed, got {steps!r}"
        )
    optimiser = validated(Optimiser, {k: v for k, v in values.items() if k in _OPTIMISER}, prefix)
    options = validated(
        method.Options, {k: v for k, v in values.items() if k not in _OPTIMISER}, prefix
    )
    return MethodSettings(method(options), optimiser, steps)


def controlled(settings: MethodSettings, control: str) -> MethodSettings:
    """The settings under a control: `frozen` runs a method with learning rate 0, `none` as it
    is.
    """
    if control == "none":
        return settings
    return replace(settings, optimiser=settings.optimiser.model_copy(update={"lr": 0.0}))


def _preset_values(name: str, preset: Preset, original: bool) -> Mapping[str, Any]:
    own = preset.methods.get(name, {})
    if original:
        # the authors' optimiser and steps stand; options that fit the network to the preset's image
        # size stay
        return {
            key: value for key, value in own.items() if key not in _OPTIMISER and key != "steps"
        }
    return {"steps": preset.steps, **own} if preset.steps is not None else own


def describe_changes(
    method: type[Adapter],
    settings: MethodSettings,
    preset_name: str,
    preset: Preset,
    request: Request,
    beside: Mapping[str, str],
) -> str:
    """The `settings` column: what differs from preset and hparams, 'key=value' joined by '; '.

    A setting that repeats the usual value is none; those of other methods do not concern this one's
    rows, nor do those that no number depends on. `beside` holds what is unusual and belongs neither
    to the preset nor to the method.
    """
    plain = resolve_preset(preset_name, {})
    usual = resolve_method(method, plain, Request(hparams=request.hparams))
    given, before = _flat(preset.model_dump(mode="json")), _flat(plain.model_dump(mode="json"))
    entries = {
        key: value
        for key, value in given.items()
        if value != before.get(key) and key not in _NO_NUMBER
    }
    own, usual_own = settings.values(), usual.values()
    entries |= {
        f"{method.name}.{key}": value for key, value in own.items() if value != usual_own[key]
    }
    if settings.steps != usual.steps:
        entries["steps"] = settings.steps
    entries |= beside
    if request.source_weights is not None:
        entries["source_weights"] = request.source_weights.name
    return "; ".join(f"{key}={value}" for key, value in sorted(entries.items()))


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return found
