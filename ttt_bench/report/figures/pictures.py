"""Example images: truth, predictions, errors, and differences of the errors to those of `norm`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ttt_bench.analysis.evidence import FROZEN, controls
from ttt_bench.metrics import colours
from ttt_bench.metrics.base import LegendEntry, metrics_of
from ttt_bench.report.figures.picture_grid import Grid, Line, Picture, png, webp
from ttt_bench.results import store
from ttt_bench.results.integrity import EXAMPLES, damages
from ttt_bench.results.method_names import PROPER_NAMES, MethodNames
from ttt_bench.results.records import is_file
from ttt_bench.stats.comparison import Comparison
from ttt_bench.tasks import TASKS

Examples = Mapping[str, np.ndarray]
"""The example images of a cell, as `store.read_examples` returns them."""
Array = NDArray[np.float64]

REFERENCE = "norm"
"""The method whose errors the others' are compared with."""
IMAGES = 2
"""Images in the picture of the last step, at most."""
SHARE = 98.0
"""Percentile of the errors at which the colours end; a few pixels would set it otherwise."""
LAST_CAPTION = (
    "Predictions of the last step, their errors, and how the errors differ from those of Norm: "
    "blue is better than Norm and red is worse. A row's label gives the value at which its colours "
    "end. Grey: the truth is unknown."
)
STEPS_CAPTION = (
    "Predictions of one image and their errors over adaptation steps. White: no error; dark red: "
    "{reach:.3g} or more. Grey: the truth is unknown."
)
ALIGNED = (
    " For this picture, the prediction is aligned with the truth by one scale and shift per image "
    "and coloured in the truth's range."
)


@dataclass(frozen=True, kw_only=True)
class ExamplePicture:
    """A picture of example images as a file.

    Attributes:
        name: the stem of its file.
        png: its content.
        webp: the same with a small loss, for the page.
        heading: what it shows, in a few words.
        caption: what a reader has to know about it.
        alt: the picture in words.
    """

    name: str
    png: bytes
    webp: bytes
    heading: str
    caption: str
    alt: str


def pictures_of(comparison: Comparison) -> tuple[ExamplePicture, ...]:
    """Return the pictures of the first seed with example images; none without any.

    Frozen controls are left out. The first picture shows all tasks at the last step; one picture
    per task shows the predictions over steps.
    """
    found = examples_of(comparison)
    if found is None:
        return ()
    seed, examples = found
    first = ExampleSet(examples, comparison.classes, comparison.names)
    all_tasks = first.last_step()
    pictures = [
        ExamplePicture(
            name="pictures",
            png=png(all_tasks),
            webp=webp(all_tasks),
            heading=f"Example images, seed {seed}",
            caption=LAST_CAPTION + ALIGNED.replace("the prediction is", "depth and edge are"),
            alt="Example images with truth, predictions and errors of every method",
        )
    ]
    for task in first.tasks:
        aligned = ALIGNED if metrics_of(task).aligned else ""
        shown, reach = first.over_steps(task)
        picture = ExamplePicture(
            name=f"pictures_{task}",
            png=png(shown),
            webp=webp(shown),
            heading=f"Example image over steps: {task}, seed {seed}",
            caption=STEPS_CAPTION.format(reach=reach) + aligned,
            alt=f"Predictions of {task} and their errors over steps, a row per method",
        )
        pictures.append(picture)
    return tuple(pictures)


def examples_of(comparison: Comparison) -> tuple[int, dict[str, Examples]] | None:
    """Return the first seed with example images, and its examples by label; None without any."""
    frozen = {label for label, control in controls(comparison).items() if control == FROZEN}
    done = comparison.done[~comparison.done["label"].isin(frozen)]
    for seed, cells in done.groupby("seed"):
        stored = _stored(cells)
        if stored:
            return int(str(seed)), stored
    return None


def _stored(cells: pd.DataFrame) -> dict[str, Examples]:
    """Map label to examples, for the cells that have any; damaged ones are left out."""
    found: dict[str, Examples] = {}
    for label, name, manifest in zip(
        cells["label"], cells["folder"], cells["manifest"], strict=True
    ):
        folder = Path(name)
        if is_file(folder / EXAMPLES) and not damages(folder, manifest):
            examples = store.read_examples(folder)
            # cells of earlier versions have predictions without their step
            if any(name.startswith("prediction_") and name[-1].isdigit() for name in examples):
                found[str(label)] = examples
    return found


@dataclass(frozen=True)
class ExampleSet:
    """The example images of a comparison.

    Attributes:
        by_label: map label to its examples; images and truth are those of the first label. A label
            with other images has blank places.
        classes: names of the semantic classes.
        names: the printed names of the labels.
    """

    by_label: Mapping[str, Examples]
    classes: Sequence[str] = ()
    names: MethodNames = PROPER_NAMES

    @cached_property
    def tasks(self) -> list[str]:
        """The tasks that have truth."""
        return [task for task in TASKS if f"truth_{task}" in self._first]

    @cached_property
    def steps(self) -> list[int]:
        """The steps that any label has predictions of."""
        names = chain.from_iterable(self.by_label.values())
        found = (name.rpartition("_")[2] for name in names if name.startswith("prediction_"))
        return sorted({int(step) for step in found if step.isdigit()})

    def last_step(self) -> Picture:
        """Return the picture of the last step: three rows per image and task."""
        heads = ("image", "truth", *map(self.names.of, self.by_label))
        images = range(min(IMAGES, len(self._first["image"])))
        groups = (self._task(image, task) for image, task in product(images, self.tasks))
        lines = list(chain.from_iterable(groups))
        legend = list(chain.from_iterable(map(self._legend, self.tasks)))
        return Grid(heads=heads, lines=lines, shape=self._shape, legend=legend).drawn()

    def over_steps(self, task: str, image: int = 0) -> tuple[Picture, float]:
        """Return the picture of a task over steps, a row per label, and its largest error."""
        errors = {label: self._errors(label, image, task) for label in self.by_label}
        reach = _reach(chain.from_iterable(errors.values()))
        names = [f"step {step}" for step in self.steps]
        heads = ("image", "truth", *names, *(f"error, {name}" for name in names))
        shown = (self._image(image), self._truth(image, task))
        lines = []
        for place, (label, own) in enumerate(errors.items()):
            predictions = [self._shown(label, image, task, step) for step in self.steps]
            maps = [_coloured_error(error, reach) for error in own]
            first = shown if place == 0 else (None, None)
            name = self.names.of(label)
            lines.append(Line(label=name.split(" "), tiles=[*first, *predictions, *maps]))
        grid = Grid(heads=heads, lines=lines, shape=self._shape, legend=self._legend(task))
        return grid.drawn(), reach

    @property
    def _first(self) -> Examples:
        return next(iter(self.by_label.values()))

    @property
    def _shape(self) -> tuple[int, int]:
        height, width = self._first["image"].shape[1:3]
        return height, width

    def _legend(self, task: str) -> list[LegendEntry]:
        return list(metrics_of(task).legend(self.classes))

    def _task(self, image: int, task: str) -> Iterator[Line]:
        """Yield the rows of a task at the last step: predictions, errors, and differences."""
        step = self.steps[-1] if self.steps else 0
        errors = [self._error(label, image, task, step) for label in self.by_label]
        predictions = [self._shown(label, image, task, step) for label in self.by_label]
        shown = [self._image(image), self._truth(image, task), *predictions]
        yield Line(label=(task,), tiles=shown, starts=True)
        reach = _reach(errors)
        maps = [_coloured_error(error, reach) for error in errors]
        yield Line(label=("error", f"0 to {reach:.3g}"), tiles=[None, None, *maps])
        if REFERENCE in self.by_label:
            yield self._differences(self._error(REFERENCE, image, task, step), errors)

    def _differences(self, reference: Array | None, errors: Sequence[Array | None]) -> Line:
        """Return the row of errors minus those of the reference."""
        found = [
            None if error is None or reference is None else error - reference for error in errors
        ]
        reach = _reach(found)
        maps = [None if one is None else colours.differences(one, reach) for one in found]
        return Line(
            label=(f"minus {self.names.of(REFERENCE)}", f"± {reach:.3g}"), tiles=[None, None, *maps]
        )

    def _image(self, image: int) -> Picture:
        found: Picture = self._first["image"][image]
        return found

    def _truth(self, image: int, task: str) -> Picture:
        return metrics_of(task).picture(self._first[f"truth_{task}"][image])

    def _shown(self, label: str, image: int, task: str, step: int) -> Picture | None:
        """Return a prediction in colours; None without one."""
        prediction = self._prediction(label, image, task, step)
        if prediction is None:
            return None
        return metrics_of(task).picture(self._first[f"truth_{task}"][image], prediction)

    def _error(self, label: str, image: int, task: str, step: int) -> Array | None:
        """Return the errors of a prediction, (H, W); None without one."""
        prediction = self._prediction(label, image, task, step)
        if prediction is None:
            return None
        return metrics_of(task).error(self._first[f"truth_{task}"][image], prediction)

    def _errors(self, label: str, image: int, task: str) -> list[Array | None]:
        """Return the errors of a label's predictions at every step."""
        return [self._error(label, image, task, step) for step in self.steps]

    def _prediction(self, label: str, image: int, task: str, step: int) -> np.ndarray | None:
        """Return a prediction at a step, or at the last stored step before it."""
        own = self.by_label[label]
        if not np.array_equal(own["indices"], self._first["indices"]):
            return None
        known = [f"prediction_{task}_{one}" for one in self.steps if one <= step]
        name = next((name for name in reversed(known) if name in own), None)
        return None if name is None else own[name][image]


def _coloured_error(error: Array | None, reach: float) -> Picture | None:
    return None if error is None else colours.errors(error, reach)


def _reach(maps: Iterable[Array | None]) -> float:
    """Return the percentile `SHARE` of the absolute values of all maps; 0 without any."""
    values = [np.abs(one[np.isfinite(one)]) for one in maps if one is not None]
    found = np.concatenate(values) if values else np.empty(0)
    return float(np.percentile(found, SHARE)) if found.size else 0.0
