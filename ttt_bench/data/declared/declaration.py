"""The file `dataset.toml`: the images, targets and splits of a data set. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from ttt_bench.data.images.normals import EVERY_AXES, HARNESS_AXES
from ttt_bench.data.splits import SPLITS
from ttt_bench.errors import unknown
from ttt_bench.tasks import IGNORE, TASKS
from ttt_bench.util.input.toml_file import read_toml
from ttt_bench.util.input.validation import OneOf, Strict, validated

FILE = "dataset.toml"
"""The name of the file in the data set's folder."""


def _checked_pattern(pattern: str) -> str:
    if pattern.startswith("/"):
        raise ValueError("must be a path below the folder of the data set")
    if pattern.count("{name}") != 1:
        raise ValueError('must contain {name} once, such as "images/{split}/{name}.png"')
    rest = pattern.replace("{name}", "").replace("{split}", "")
    if "{" in rest or "}" in rest:
        raise ValueError("may contain {name}, {split} and *, and no other braces")
    return pattern


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


def _folder(value: Any) -> Any:
    return {"folder": value} if isinstance(value, str) else value


Pattern = Annotated[str, AfterValidator(_checked_pattern)]
"""Path of files below the data set's folder; see `ttt_bench.data.declared.files`."""
Ids = Annotated[tuple[int, ...], BeforeValidator(_listed)]
"""One number or several."""


class SplitFiles(Strict):
    """The images of a split.

    Attributes:
        folder: replaces `{split}` in all patterns.
        list: a text file below the data set's folder with one name per line; None for all images
            that the pattern finds.
    """

    folder: str = ""
    list: str | None = None


class Files(Strict):
    """The files of a task.

    Attributes:
        files: their pattern.
    """

    files: Pattern


class ClassMaps(Files):
    """8-bit maps with one number per pixel.

    Attributes:
        classes: name of a class -> its numbers.
        void: numbers of pixels without a target.
    """

    classes: dict[str, Ids]
    void: Ids = ()

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        if len(self.classes) < 2:
            raise ValueError("give at least two classes, as NAME = NUMBER")
        numbers = self.numbers
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        if twice:
            raise ValueError(f"number {twice[0]} is given twice; it can mean only one class")
        if not all(0 <= number <= IGNORE for number in numbers):
            raise ValueError(f"numbers must be in 0..{IGNORE}")
        if IGNORE not in self.void and IGNORE in numbers:
            raise ValueError(f"{IGNORE} marks a pixel without a target; give it in `void`")
        return self

    @property
    def numbers(self) -> list[int]:
        """Every number that a map may hold."""
        return list(chain(self.void, *self.classes.values()))


class DepthMaps(Files):
    """Depth as 16-bit grey images, or as arrays in .npy files.

    Attributes:
        scale: metres = scale * (value + offset), or scale / (value + offset) if `inverse` is set.
        offset: added to the stored value.
        inverse: whether the files hold disparity instead of depth.
        invalid: stored values of pixels without depth.
    """

    scale: float = Field(gt=0)
    offset: float = 0.0
    inverse: bool = False
    invalid: tuple[float, ...] = (0.0,)


class NormalMaps(Files):
    """Normals as 8-bit RGB images, (v - 127.5) / 127.5; middle grey marks a missing normal.

    Attributes:
        axes: the directions of red, green and blue.
    """

    axes: Annotated[str, OneOf("axes", EVERY_AXES)] = HARNESS_AXES


class Declaration(Strict):
    """The content of a `dataset.toml`.

    Attributes:
        images: pattern of the photographs.
        splits: name of a split -> its images.
        description: one line for listings.
        root: the folder of the files, relative to that of `dataset.toml`.
        semseg, depth, normals, edge, human_parts, saliency: the files of each task; None without.
    """

    images: Pattern
    splits: dict[str, Annotated[SplitFiles, BeforeValidator(_folder)]] = Field(min_length=1)
    description: str = "a data set that its dataset.toml describes"
    root: str = "."
    semseg: ClassMaps | None = None
    depth: DepthMaps | None = None
    normals: NormalMaps | None = None
    edge: Files | None = None
    human_parts: Files | None = None
    saliency: Files | None = None

    @field_validator("splits")
    @classmethod
    def _check_splits(cls, splits: Mapping[str, SplitFiles]) -> Mapping[str, SplitFiles]:
        for name in splits:
            if name not in SPLITS:
                raise ValueError(str(unknown("split", name, SPLITS)))
        return splits

    @model_validator(mode="after")
    def _check_tasks(self) -> Self:
        if not self.tasks:
            raise ValueError(f"describes no target; give a table such as [{next(iter(TASKS))}]")
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks with files, in canonical order."""
        return tuple(task for task in TASKS if getattr(self, task, None) is not None)

    def files(self, task: str) -> Files:
        """Return the files of a task that it describes."""
        found: Files = getattr(self, task)
        return found

    def record(self, tasks: tuple[str, ...]) -> dict[str, Any]:
        """Return everything that the targets of these tasks depend on, as JSON-like values."""
        return self.model_dump(mode="json", include={*tasks})


def read_declaration(folder: Path) -> Declaration:
    """Return the declaration in a data set's folder.

    Raises:
        BenchError: the file is missing, is not TOML, or has an invalid entry; names it.
    """
    path = folder / FILE
    content = read_toml(path, "data set", str(path))
    return validated(Declaration, content, lambda field: f"{path}: {field}", whole=str(path))
