"""The published hyperparameters, as `hyperparameters.csv` has them: one setting per row.

The columns of the file are `paper, place, method, setting, value`. `place` is empty if the data do
not say where the paper states the value. `method` is `all` for a setting of every method. `setting`
has the name that `--set` uses, without the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from csv import DictReader
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

FILE = "hyperparameters.csv"
EVERY = "all"
PROTOCOL = "S4T"
"""The paper that states one protocol for every method, which `--hparams paper` reproduces."""
TRAINING = "training."


@dataclass(frozen=True, kw_only=True)
class PublishedSetting:
    """A setting that a paper states; the fields are the columns of the file."""

    paper: str
    place: str
    method: str
    setting: str
    value: str

    @property
    def source(self) -> str:
        """Return the paper and, if known, the place."""
        return f"{self.paper}, {self.place}" if self.place else self.paper


@cache
def published_settings() -> tuple[PublishedSetting, ...]:
    """Return every published setting, in the order of the file."""
    with files(__package__).joinpath(FILE).open(encoding="utf-8") as file:
        return tuple(PublishedSetting(**line) for line in DictReader(file))


def published_adaptation(method: str) -> dict[str, PublishedSetting]:
    """Map name to setting for what S4T states of a method at test time, optimiser and options."""
    return {
        one.setting: one
        for one in published_settings()
        if one.paper == PROTOCOL
        and one.method in (EVERY, method)
        and not one.setting.startswith(TRAINING)
    }


def published_training() -> dict[str, list[PublishedSetting]]:
    """Map name, without `training.`, to what the papers state of source training."""
    found: dict[str, list[PublishedSetting]] = {}
    for one in published_settings():
        if one.setting.startswith(TRAINING):
            found.setdefault(one.setting.removeprefix(TRAINING), []).append(one)
    return found


def agrees(value: Any, printed: str) -> bool:
    """Return whether a value equals a published one; numbers are compared as numbers."""
    if isinstance(value, int | float):
        return float(printed) == value
    return str(value) == printed


def departures(method: str, values: Mapping[str, Any]) -> dict[str, PublishedSetting]:
    """Return the published settings of a method from which `values` differ, by name.

    A setting that `values` do not have is left out.
    """
    return {
        name: one
        for name, one in published_adaptation(method).items()
        if name in values and not agrees(values[name], one.value)
    }
