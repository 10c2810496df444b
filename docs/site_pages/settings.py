"""The page of a run's settings: the request's fields and the presets."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from griffe import Docstring
from pydantic import BaseModel

from site_pages.markdown import table
from ttt_bench.cli.options import field_option
from ttt_bench.config.preset import (
    PRESETS,
    DataSettings,
    ModelConfig,
    Preset,
    TrainingSettings,
    resolve_preset,
)
from ttt_bench.config.request import Request

_SECTIONS: dict[str, type[BaseModel]] = {
    "model": ModelConfig,
    "data": DataSettings,
    "training": TrainingSettings,
}
_TEXT = """\
# Settings of a run

A setting of the table is an entry of a config file (`--config`), an argument of `ttt_bench.run` and
an option of `ttt-bench run`: `data_root` is `--data-root`.

{fields}

## Presets

`--set SECTION.key=value` changes a setting of the preset, such as `--set data.rendered_target=64`.
`--set METHOD.key=value` changes an option of a method; the [pages of the methods](methods/index.md)
list them.

{presets}

The presets `smoke` and `quick` also set optimisers and options of methods, by which small networks
adapt: [`smoke.toml`](../../ttt_bench/config/presets/smoke.toml),
[`quick.toml`](../../ttt_bench/config/presets/quick.toml).
"""


def page() -> str:
    """Return the page in Markdown."""
    fields = [
        {"setting": name, "meaning": field_option(name).help}
        for name in Request.model_fields
        if name != "label_spaces"  # no option
    ]
    presets = {name: resolve_preset(name, {}) for name in PRESETS}
    return _TEXT.format(
        fields=table(fields, ("setting", "meaning"), code="setting"),
        presets=table(_preset_rows(presets), ("setting", *PRESETS, "meaning"), code="setting"),
    )


def _preset_rows(presets: dict[str, Preset]) -> Iterator[dict[str, Any]]:
    meanings = _attributes(Preset)
    for key in ("steps", "batch"):
        values = {name: getattr(preset, key) for name, preset in presets.items()}
        yield {"setting": key, **values, "meaning": meanings[key]}
    for section, record in _SECTIONS.items():
        meanings = _attributes(record)
        for key in record.model_fields:
            values = {name: getattr(getattr(one, section), key) for name, one in presets.items()}
            yield {"setting": f"{section}.{key}", **values, "meaning": meanings.get(key, "")}


def _attributes(record: type) -> dict[str, str]:
    """Return what a record's docstring says of its attributes."""
    parsed = Docstring(inspect.getdoc(record) or "", lineno=1).parse("google", warnings=False)
    found = [section.value for section in parsed if section.kind.value == "attributes"]
    return {attribute.name: attribute.description for attribute in found[0]} if found else {}
