"""Metrics, and the objects with everything about the metrics of one task.

Each task of `ttt_bench.tasks` has one module here, named as the task, whose `TASK_METRICS` is its
`TaskMetrics`. The module of the same name in `ttt_bench.metrics.measure` measures it on tensors.
Nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ttt_bench.metrics.colours import Colour, Picture
from ttt_bench.tasks import TASKS, canonical

Array = NDArray[np.float64]
Scores = dict[str, "float | Array"]
"""Metric name -> a float, or an array (K,) for a per-class metric."""
LegendEntry = tuple[str, Colour]
"""A class's name and its RGB."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A score of a task.

    Attributes:
        task: the task's name.
        name: the metric's name in the rows, unique within the task.
        head: its name in tables and figures.
        unit: `percent`, `degrees`, or empty for the target's unit or for no unit.
        higher_is_better: its direction.
        about: its definition in words.
        primary: the task's published metric: main tables, Delta_TTT, curves and synchronisation
            use it.
        per_class: one value per class of the task.
    """

    task: str
    name: str
    head: str
    unit: str
    higher_is_better: bool
    about: str
    primary: bool = False
    per_class: bool = False

    @property
    def printed(self) -> str:
        """Head and unit."""
        return f"{self.head} {_SIGNS[self.unit]}".rstrip()


_SIGNS = {"percent": "%", "degrees": "°", "": ""}


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """How the raw outputs are scored on a target, which depends on the target's encodings.

    Attributes:
        edge_sigmoid: edge outputs pass through a sigmoid (targets whose edges are 0 or 1).
        depth_nonnegative: depths below 0 become 0.
        to_metres: decodes depth to metres; None if it is in metres already.
    """

    edge_sigmoid: bool
    depth_nonnegative: bool
    to_metres: Callable[[Any], Any] | None = None

    def apply(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the predictions that are scored, task -> (B, K, H, W), of the raw outputs."""
        return {task: metrics_of(task).transform(output, self) for task, output in outputs.items()}

    def words(
        self,
        tasks: Iterable[str],
        *,
        batch: int,
        units: Mapping[str, str],
        order: str = "file order",
    ) -> dict[str, str]:
        """Describe the scoring of these tasks, for manifests and reports.

        Args:
            tasks: the scored tasks.
            batch: images per evaluation batch.
            units: task -> unit or values of its targets, for tasks whose targets differ in it.
            order: the order of the images, which decides which ones share a batch.
        """
        names = canonical(tasks)
        words = {name: metrics_of(name).scoring_words(self, units.get(name, "")) for name in names}
        aligned = [name for name in names if metrics_of(name).aligned]
        if aligned:
            words["alignment"] = (
                f"{' and '.join(aligned)}: one scale and shift for each evaluation batch of "
                f"{batch}, {order}"
            )
        return words


class TaskMetrics(ABC):
    """Everything about the metrics of one task except their measurement on tensors.

    Scores come from two kinds of sums, which `ttt_bench.metrics.measure` makes and results store:
    the sums of each image (`statistics.parquet`) and the sums of the whole set (`totals.parquet`),
    for metrics that the sums of single images do not determine.

    Attributes:
        name: the task's name.
        metrics: every metric, the primary one first.
        image_sums: the layout of an image's sums, in words.
        set_sums: the layout of the set's sums, in words; empty if the task has none.
        set_sums_if: the condition for the set's sums to exist; empty if they always do.
        aligned: predictions are scored after one scale and shift per evaluation batch.
        second_delta_without: tables show a second Delta_TTT without this task.
        constant_words: the best constant prediction, or the reason why it is not known.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]
    image_sums: ClassVar[str]
    set_sums: ClassVar[str] = ""
    set_sums_if: ClassVar[str] = ""
    aligned: ClassVar[bool] = False
    second_delta_without: ClassVar[bool] = False
    constant_words: ClassVar[str]

    @property
    def primary(self) -> Metric:
        """The published metric."""
        return next(metric for metric in self.metrics if metric.primary)

    @property
    def lower_is_better(self) -> bool:
        """The direction of the primary metric."""
        return not self.primary.higher_is_better

    @abstractmethod
    def score(self, groups: Sequence[Array]) -> float:
        """Return the primary score, in the metric's unit; NaN if no pixel is valid.

        Args:
            groups: the sums of the images of each evaluation batch, (B, S).
        """

    @abstractmethod
    def other_scores(self, groups: Sequence[Array], set_sums: Array | None) -> Scores:
        """Return the other scores; metrics that are undefined (no pixel is valid) are omitted.

        Args:
            groups: the sums of the images of each evaluation batch, (B, S).
            set_sums: the sums of the same images together, (T,); None if the task has none.
        """

    @abstractmethod
    def linear_sums(self, images: Array, batch: NDArray[np.intp]) -> Array:
        """Return the sums (..., B, D) whose totals over images give the primary score.

        An aligned prediction keeps the alignment of its whole evaluation batch, so that images can
        be drawn with replacement.

        Args:
            images: the sums of each image, (..., B, S).
            batch: the number of each image's evaluation batch, (B,), ascending from 0.
        """

    @abstractmethod
    def score_of_sums(self, sums: Array) -> Array:
        """Return the primary score, (...), of totals of `linear_sums`, (..., D).

        It is NaN if no pixel is valid.
        """

    def scores(self, groups: Sequence[Array], set_sums: Array | None) -> Scores:
        """Return every score by metric name; arguments as for `other_scores`."""
        return {self.primary.name: self.score(groups), **self.other_scores(groups, set_sums)}

    def transform(self, output: Any, scoring: Scoring) -> Any:
        """Return the prediction that is scored, (B, K, H, W), of a raw output (a tensor)."""
        return output

    @abstractmethod
    def scoring_words(self, scoring: Scoring, unit: str) -> str:
        """Describe how the primary metric is computed on a target.

        Args:
            scoring: how outputs are scored on the target.
            unit: unit or values of the target.
        """

    def constant_score(self, groups: Sequence[Array]) -> float | None:
        """Return the score of the best prediction that never changes; None if it is not known.

        Args:
            groups: the sums (S,) of each evaluation batch of any model; only the truth counts.
        """
        return None

    def constant_warning(self, score: float, constant: float) -> tuple[str, str] | None:
        """Return a note's head and text if a score is hardly better than the best constant."""
        return None

    def class_pixels(self, sums: Array) -> Array:
        """Return the number of true pixels per class, (K,), from pooled image sums (S,)."""
        return np.zeros(0)

    def value_range(self, truth: NDArray[Any]) -> tuple[float, float] | None:
        """Return the range that is coloured; None for a task without one.

        Args:
            truth: one image's target, (H, W) or (K, H, W), 255 where a pixel has none.
        """
        return None

    def legend(self, classes: Sequence[str]) -> list[LegendEntry]:
        """Return the names and colours of its classes; empty for a task without classes.

        Args:
            classes: the names of the label space's classes.
        """
        return []

    @abstractmethod
    def picture(self, truth: NDArray[Any], prediction: NDArray[Any] | None = None) -> Picture:
        """Return a prediction of one image in colours, (H, W, 3); without one, the truth.

        Args:
            truth: the target, (H, W) or (K, H, W), 255 where a pixel has none.
            prediction: the prediction as it is stored for display, of the same shape. It has the
                colour of a missing target where the truth is missing.
        """

    @abstractmethod
    def error(self, truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
        """Return the error of each pixel of one image, (H, W); NaN where the target is missing.

        Args:
            truth: as for `picture`.
            prediction: as for `picture`.
        """


def metrics_of(task: str) -> TaskMetrics:
    """Return the metrics of a task of `ttt_bench.tasks`."""
    found: TaskMetrics = import_module(f"ttt_bench.metrics.{task}").TASK_METRICS
    return found


def ratio(total: Array, count: Array) -> Array:
    """Return total / count elementwise; NaN where the count is 0."""
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def all_metrics() -> tuple[Metric, ...]:
    """Return every metric, task by task and each task's primary one first.

    Rows, tables and notes have this order.
    """
    return tuple(metric for task in TASKS for metric in metrics_of(task).metrics)


def joined_words(words: Mapping[str, str]) -> str:
    """Join descriptions by task, `a and b: words; c: words`; tasks with equal words share them."""
    tasks: dict[str, list[str]] = {}
    for task, text in words.items():
        tasks.setdefault(text, []).append(task)
    return "; ".join(f"{' and '.join(names)}: {text}" for text, names in tasks.items())
