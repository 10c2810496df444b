"""The text of the column `settings`: the settings that differ from preset and hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ttt_bench.config.method_settings import MethodSettings, resolve_method
from ttt_bench.config.preset import Preset, resolve_preset
from ttt_bench.config.reading import flattened
from ttt_bench.config.request import Request
from ttt_bench.config.tuned import TunedFile

_WITHOUT_EFFECT = frozenset({"data.workers"})
"""Settings that cannot change a result."""


def describe_changes(
    settings: MethodSettings,
    preset: Preset,
    request: Request,
    *,
    preset_name: str,
    choices: Mapping[str, str],
    tuned: TunedFile | None = None,
) -> str:
    """Return the settings that differ from preset and hyperparameters: 'key=value' joined by '; '.

    Omits settings equal to their default, settings of other methods, and settings that cannot
    change a result.

    Args:
        settings: the method's settings, without a control.
        preset: the preset with the request's settings.
        request: the request.
        preset_name: the preset's name.
        choices: other choices of the run that differ from the default ones: name -> value.
        tuned: the file of --tuned; its settings count as those of the hyperparameters.
    """
    entries = {**_changed_preset(preset, preset_name), **choices}
    default = resolve_method(
        type(settings.adapter),
        resolve_preset(preset_name, {}),
        Request(hparams=request.hparams),
        tuned,
    )
    entries |= _changed_method(settings, default)
    if request.source_weights is not None:
        entries["source_weights"] = request.source_weights.name
    return "; ".join(f"{key}={value}" for key, value in sorted(entries.items()))


def _changed_preset(preset: Preset, name: str) -> dict[str, Any]:
    before = dict(flattened(resolve_preset(name, {}).model_dump(mode="json")))
    return {
        key: value
        for key, value in flattened(preset.model_dump(mode="json"))
        if value != before.get(key) and key not in _WITHOUT_EFFECT
    }


def _changed_method(settings: MethodSettings, default: MethodSettings) -> dict[str, Any]:
    before = default.values()
    changed = {
        f"{settings.adapter.name}.{key}": value
        for key, value in settings.values().items()
        if value != before[key]
    }
    return {**changed, **({"steps": settings.steps} if settings.steps != default.steps else {})}
