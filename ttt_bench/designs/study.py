"""The declaration of a study: what it varies, what it shows, and which published table it answers.

A study is declared in a TOML file. Its *arms* are the choices that it compares; each has methods,
settings and a shift of the target. Either the file lists the arms, or it has an *axis* with one arm
per value:

    title = "Masking ratio of S4T"
    answers = ["S4T, Figure 3"]
    methods = ["s4t"]
    show = ["table", "curve"]

    [axis]
    name = "masking ratio"
    setting = "s4t.mask_ratio"
    values = [0.0, 0.5, 0.9]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from ttt_bench.protocols import CONTROLS
from ttt_bench.util.input.toml_file import read_toml
from ttt_bench.util.input.validation import OneOf, Strict, validated

BASE = "base"
"""The method that every arm includes, since all changes are measured against it."""

VIEWS = {
    "table": "one row per arm and method, with the published numbers",
    "curve": "scores and Delta_TTT over the axis",
    "losses": "the method's losses over the axis, before and after adapting",
    "cost": "the parameters of every arm and method, and its times that `ttt-bench time` measured",
    "methods": "the rows and curves of the comparison, which is a section of the report",
    "synchronisation": "the synchronisation of the tasks, in the comparison's section",
}
"""What a study can show: name -> meaning."""

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,39}"

View = Annotated[str, OneOf("view", tuple(VIEWS))]
Control = Annotated[str, OneOf("control", CONTROLS)]
Settings = dict[str, Any]


class Arm(Strict):
    """One of the choices that a study compares.

    Attributes:
        label: its name in tables.
        methods: its methods in addition to Base; empty for those of the study.
        set: `section.key` -> value, as `--set` takes them.
        shift: shifts that are added to the target, such as `gaussian_noise@0.1`; may be empty.
        presets: the presets that it belongs to; empty for all. Under others it is left out.
        value: its place on the study's axis; None without an axis.
    """

    label: str = Field(min_length=1, max_length=60)
    methods: tuple[str, ...] = ()
    set: Settings = Field(default_factory=dict)
    shift: str = ""
    presets: tuple[str, ...] = ()
    value: float | None = None


class Axis(Strict):
    """A number that the arms of a study vary.

    Attributes:
        name: its name in tables and figures.
        setting: the `section.key` that takes the values; empty if `shift` is given.
        shift: a shift of the target with `{}` in place of the value; the value 0 means no shift.
        values: the values, each once.
    """

    name: str = Field(min_length=1, max_length=60)
    setting: str = ""
    shift: str = ""
    values: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.setting) == bool(self.shift):
            raise ValueError("give either a setting or a shift")
        if self.shift and self.shift.count("{}") != 1:
            raise ValueError("the shift must contain {} in place of the value")
        if len(set(self.values)) < len(self.values):
            raise ValueError("a value is given twice")
        return self

    def arms(self) -> tuple[Arm, ...]:
        """Return one arm per value."""
        return tuple(self._arm(value) for value in self.values)

    def _arm(self, value: float) -> Arm:
        label = f"{self.name} {value:g}"
        if self.setting:
            return Arm(label=label, value=value, set={self.setting: value})
        return Arm(label=label, value=value, shift=self.shift.format(f"{value:g}") if value else "")


class Study(Strict):
    """A study.

    Attributes:
        name: its name on the command line and in file names.
        title: its title in the report.
        answers: the published tables and figures that it answers, such as `S4T, Table 2`.
        measure: what it measures: cells of a results folder, the affinity of tasks, or times.
        methods: the methods of its arms, in addition to Base; `all` for every method.
        controls: the controls of its cells.
        show: what the report shows; see `VIEWS`.
        axis: the axis; None if the arms are listed.
        arms: the arms; empty with an axis. A study with neither has one arm with default settings.
        notes: notes for the reader, for example on what a paper leaves open.
    """

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    title: str = Field(min_length=1, max_length=120)
    answers: tuple[str, ...] = ()
    measure: Literal["cells", "affinity", "timing"] = "cells"
    methods: tuple[str, ...] = Field(("all",), min_length=1)
    controls: tuple[Control, ...] = ("none",)
    show: tuple[View, ...] = ("table",)
    axis: Axis | None = None
    arms: tuple[Arm, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.axis is not None and self.arms:
            raise ValueError("give either an axis or arms")
        if self.measure != "cells" and (self.axis is not None or self.arms):
            raise ValueError(f"measure = {self.measure!r} takes neither an axis nor arms")
        if self.axis is None and {"curve", "losses"} & set(self.show):
            raise ValueError("show: curve and losses need an axis")
        labels = [arm.label for arm in self.arms]
        if len(set(labels)) < len(labels):
            raise ValueError("two arms have one label")
        return self

    @property
    def shows_comparison(self) -> bool:
        """Return whether it is shown by the sections that the report has for all comparisons."""
        return bool({"methods", "synchronisation"} & set(self.show))

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """Return the arms: those of the axis, those listed, or one with default settings."""
        if self.axis is not None:
            return self.axis.arms()
        return self.arms or (Arm(label="default"),)

    def methods_of(self, arm: Arm) -> tuple[str, ...]:
        """Return the methods and groups of an arm, Base first unless they are all methods."""
        own = arm.methods or self.methods
        return own if own == ("all",) else tuple(dict.fromkeys((BASE, *own)))


def study_from(name: str, entries: Mapping[str, Any], place: str) -> Study:
    """Return the study that a file declares.

    Args:
        name: its name, unless the entries have one.
        entries: the content of the file.
        place: how error messages call the file.

    Raises:
        BenchError: an entry is unknown or invalid; one line per problem.
    """
    values = {"name": name, **entries}
    return validated(Study, values, lambda field: f"{place}: {field}", whole=place)


def read_study(path: Path) -> Study:
    """Return the study of a TOML file; it is named after the file unless it has a `name`.

    Letters of a file's name become lower case, and other signs become hyphens.

    Raises:
        BenchError: the file is missing, is not TOML, or has an invalid entry.
    """
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")
    return study_from(name, read_toml(path, "study", "the study"), f"study {path}")
