"""The request of one cell, as its manifest records it: another machine can run the cell from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ttt_bench.config.method_settings import MethodSettings
from ttt_bench.config.reading import flattened
from ttt_bench.config.request import Request
from ttt_bench.config.tuned import TunedFile

_KEPT = ("hparams", "data_variant", "stream", "agreement", "device", "deterministic")
"""Fields that are recorded as the request has them."""
TUNED = "tuned"
"""Entry with the content of the file of --tuned."""


def request_record(
    request: Request,
    settings: MethodSettings,
    *,
    pair: str,
    preset: str,
    control: str,
    label_space: str | None,
    tuned: TunedFile | None,
) -> dict[str, Any]:
    """Return the request of the cells of one method on one pair, but for protocol and seed.

    All settings of the method are stated, so that the defaults of another version do not count.
    The settings of the preset are in the manifest anyway (`preset_values`).

    Args:
        request: the request of the run.
        settings: the method's settings without the control.
        pair: name of the pair.
        preset: name of the preset.
        control: name of the control.
        label_space: name of the label space; None without one.
        tuned: the file of --tuned, if it is used.
    """
    name, weights = settings.adapter.name, request.source_weights
    own = {**settings.values(), "steps": settings.steps}
    custom = {one: table for one, table in request.label_spaces.items() if one == label_space}
    return {
        **request.model_dump(mode="json", include=set(_KEPT)),
        "methods": [name],
        "pair": [pair],
        "preset": preset,
        "control": [control],
        "label_space": label_space,
        "label_spaces": custom,
        "set": {f"{name}.{key}": value for key, value in own.items()},
        "source_weights": str(weights) if weights else None,
        TUNED: tuned.of_method(name) if tuned else None,
    }


def recorded_fields(record: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of the request that a manifest records, without the file of --tuned.

    Args:
        record: what `request_record` returned, with `protocol` and `seeds`.
        preset: the values of the preset.
    """
    named = dict(flattened(preset))
    sections = {key: value for key, value in named.items() if "." in key or key == "batch"}
    given = {key: value for key, value in record.items() if key != TUNED and value is not None}
    return {**given, "set": {**sections, **record["set"]}}
