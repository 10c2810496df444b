"""The settings of a method in one run: options, optimiser and steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from ttt_bench.adapter import Adapter, Optimiser
from ttt_bench.config.preset import Preset
from ttt_bench.config.request import MAX_STEPS, Request
from ttt_bench.config.tuned import TunedFile
from ttt_bench.errors import BenchError, unknown
from ttt_bench.util.input.validation import validated
from ttt_bench.util.problems import attempt

_OPTIMISER = frozenset(Optimiser.model_fields)


@dataclass(frozen=True)
class MethodSettings:
    """How one method is run.

    Attributes:
        adapter: the method with its options.
        optimiser: settings of the optimiser at test time.
        steps: adaptation steps per batch.
    """

    adapter: Adapter
    optimiser: Optimiser
    steps: int

    def values(self) -> dict[str, Any]:
        """Return options and optimiser settings by name."""
        return {
            **self.optimiser.model_dump(mode="json"),
            **self.adapter.options.model_dump(mode="json"),
        }


def resolve_method(
    method: type[Adapter], preset: Preset, request: Request, tuned: TunedFile | None = None
) -> MethodSettings:
    """Return a method's settings: the request's, else the preset's, else the hyperparameters'.

    The optimiser of `tuned` takes precedence over those of preset and hyperparameters.

    Raises:
        BenchError: an option is unknown (with the nearest names), or a value is not allowed.
    """
    prefix = f"{method.name}."
    values = _merged(method, preset, request, tuned)
    known = {*_OPTIMISER, "steps", *method.Options.model_fields}
    for key in values.keys() - known:
        raise BenchError(f"{prefix}{key}: {unknown('option', key, known)}")
    steps = values.pop("steps")
    if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= MAX_STEPS:
        raise BenchError(
            f"{prefix}steps must be a whole number from 1 to {MAX_STEPS:,}, got {steps!r}"
        )
    optimiser = {key: value for key, value in values.items() if key in _OPTIMISER}
    options = {key: value for key, value in values.items() if key not in _OPTIMISER}
    return MethodSettings(
        adapter=method(validated(method.Options, options, f"{prefix}{{}}".format)),
        optimiser=validated(Optimiser, optimiser, f"{prefix}{{}}".format),
        steps=steps,
    )


def alternatives(adapter: Adapter) -> Iterator[tuple[str, Adapter]]:
    """Yield `METHOD.option=value` and the method with it, for the other values of closed choices.

    Values that do not go with the other options are left out.
    """
    options = adapter.options
    for name, field in type(options).model_fields.items():
        for value in _choices(field.annotation):
            if value == getattr(options, name):
                continue
            changed = {**options.model_dump(), name: value}
            found, _ = attempt(validated, type(options), changed, str)
            if found is not None:
                text = str(value).lower() if isinstance(value, bool) else value
                yield f"{adapter.name}.{name}={text}", type(adapter)(found)


def _choices(annotation: Any) -> tuple[Any, ...]:
    """Return the values that an annotation allows; empty if they are not a closed choice."""
    if annotation is bool:
        return (False, True)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def controlled(settings: MethodSettings, control: str) -> MethodSettings:
    """Return the settings under a control: `frozen` sets the learning rate to 0."""
    if control == "none":
        return settings
    return replace(settings, optimiser=settings.optimiser.model_copy(update={"lr": 0.0}))


def _merged(
    method: type[Adapter], preset: Preset, request: Request, tuned: TunedFile | None
) -> dict[str, Any]:
    """Return options, optimiser settings and `steps` by name."""
    hparams = method.original if request.hparams == "original" else method.paper
    prefix = f"{method.name}."
    given = {k.removeprefix(prefix): v for k, v in request.set.items() if k.startswith(prefix)}
    if request.steps is not None:
        given["steps"] = request.steps
    return {
        **hparams.optimiser.model_dump(),
        "steps": hparams.steps,
        **hparams.options,
        **_preset_values(method.name, preset, request.hparams),
        **(tuned.optimiser(method.name) if tuned else {}),
        **given,
    }


def _preset_values(name: str, preset: Preset, hparams: str) -> Mapping[str, Any]:
    own = preset.methods.get(name, {})
    if hparams == "original":
        # the authors' optimiser and steps remain; options that adjust the method to the preset's
        # image size apply
        return {k: v for k, v in own.items() if k not in _OPTIMISER and k != "steps"}
    return {"steps": preset.steps, **own} if preset.steps is not None else own
