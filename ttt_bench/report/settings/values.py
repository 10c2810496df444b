"""The hyperparameters of a comparison's rows, read from the manifests of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ttt_bench.report.frames import named_rows
from ttt_bench.stats.comparison import Comparison

OPTIMISER_NAMES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
"""Optimiser -> its name in print."""
_UNUSED_BY_ADAM = ("momentum", "nesterov")
WITHOUT_EFFECT = {
    "sgd": ("beta1", "beta2"),
    "adam": _UNUSED_BY_ADAM,
    "adamw": _UNUSED_BY_ADAM,
}
"""Optimiser -> settings that it does not use."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The hyperparameters of one row.

    Attributes:
        label: name of the row in CSV.
        title: name of the row in print.
        method: name of the method.
        adapts: whether an optimiser updates parameters.
        values: settings of the optimiser that have an effect, `steps` and `batch`.
        options: options of the method.
    """

    label: str
    title: str
    method: str
    adapts: bool
    values: Mapping[str, Any]
    options: Mapping[str, Any]


def settings_of(comparison: Comparison) -> list[Settings]:
    """Return one record per method, settings and steps: seeds and controls share them."""
    found: dict[tuple[str, str, int], Settings] = {}
    for cell in named_rows(comparison.cells):
        if cell.state != "not_applicable":
            steps = cell.steps if cell.manifest.get("optimiser") else 0
            title = comparison.names.of(cell.label)
            found.setdefault((cell.method, cell.own, steps), _settings(cell, title))
    return list(found.values())


def shared_options(rows: Sequence[Settings]) -> dict[str, Any]:
    """Return the options that have the same value in every row; none for a single method."""
    if len({row.method for row in rows}) < 2:
        return {}
    first, *others = (set(map(_entry, row.options.items())) for row in rows)
    shared = first.intersection(*others)
    return {
        name: value for name, value in rows[0].options.items() if _entry((name, value)) in shared
    }


def listed(values: Mapping[str, Any]) -> str:
    """Return settings in words, such as 'lr 0.001, steps 10'."""
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())


def shown(value: Any) -> str:
    """Return a value in print, numbers with up to six digits."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return ", ".join(map(shown, value)).join("[]") if isinstance(value, list) else str(value)


def in_print(published: str) -> str:
    """Return a published value in the form of a measured one."""
    return published if published.isalpha() else shown(float(published))


def _entry(option: tuple[str, Any]) -> tuple[str, str]:
    """Return an option with its value as a text, which can be compared even if it is a list."""
    name, value = option
    return name, repr(value)


def _settings(cell: Any, title: str) -> Settings:
    manifest = cell.manifest
    optimiser = manifest.get("optimiser") or {}
    steps = {"steps": cell.steps} if optimiser else {}
    batch = (manifest.get("preset_values") or {}).get("batch")
    values = {**settings_in_use(optimiser), **steps, **({} if batch is None else {"batch": batch})}
    return Settings(
        label=cell.label,
        title=title,
        method=cell.method,
        adapts=bool(optimiser),
        values=values,
        options=manifest.get("options") or {},
    )


def settings_in_use(optimiser: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an optimiser that have an effect."""
    unused = WITHOUT_EFFECT.get(optimiser.get("optimiser", ""), ())
    return {name: value for name, value in optimiser.items() if name not in unused}
