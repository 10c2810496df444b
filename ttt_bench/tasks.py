"""The dense-prediction tasks: their order, outputs and metrics.

Everything that is sliced by task is sliced in `TASKS` order, by name, on source and target alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ttt_bench.errors import unknown

IGNORE = 255
"""The value that marks a pixel without a target, in every task (a real-valued target has it in
every channel).
"""


@dataclass(frozen=True)
class Metric:
    """A score of a task; how it is computed stands in `ttt_bench.metrics.scores.task_scores`, under
    the same name.

    Attributes:
        task: the task's name.
        name: the metric's name in the rows, where task and metric together are unique.
        head: what tables and figures call it.
        unit: `percent`, `degrees`, or empty: the target's own unit, or none.
        higher_is_better: its direction.
        about: what it is, in words.
        primary: the task's published metric: main tables, Delta_TTT, curves and synchronisation are
        made of it.
        per_class: one value for each semantic class.
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

METRICS: tuple[Metric, ...] = (
    Metric(
        "semseg",
        "miou",
        "mIoU",
        "percent",
        True,
        "IoU of counts pooled over the set, mean over all classes; 0 for a class in neither truth nor prediction",
        primary=True,
    ),
    Metric(
        "semseg",
        "pixel_accuracy",
        "pixel accuracy",
        "percent",
        True,
        "share of the set's valid pixels whose class is right",
    ),
    Metric(
        "semseg",
        "iou",
        "IoU",
        "percent",
        True,
        "IoU of one class, of counts pooled over the set; 0 for a class in neither truth nor prediction",
        per_class=True,
    ),
    Metric(
        "depth",
        "rmse",
        "RMSE",
        "",
        False,
        "root mean squared error in the target's unit, after one scale and shift an evaluation batch",
        primary=True,
    ),
    Metric(
        "depth",
        "abs_rel",
        "AbsRel",
        "",
        False,
        "mean of abs(p - t) / t over the set's pixels with t > 0, p being aligned as for RMSE; in metres: where depth "
        "is log-encoded, p (kept within the encoding's 0 to 1) and t are decoded after the alignment",
    ),
    Metric(
        "depth",
        "delta1",
        "delta1",
        "percent",
        True,
        "share of the same pixels with max(p / t, t / p) < 1.25; a pixel with p <= 0 is outside",
    ),
    Metric(
        "normals",
        "merr",
        "mErr",
        "degrees",
        False,
        "angle between unit vectors, mean over the set's valid pixels",
        primary=True,
    ),
    Metric(
        "normals",
        "median",
        "median",
        "degrees",
        False,
        "median angle over the set's valid pixels, from a histogram of 1/16 degree",
    ),
    Metric(
        "normals",
        "within_11_25",
        "< 11.25°",
        "percent",
        True,
        "share of valid pixels with an angle below 11.25°",
    ),
    Metric(
        "normals",
        "within_22_5",
        "< 22.5°",
        "percent",
        True,
        "share of valid pixels with an angle below 22.5°",
    ),
    Metric(
        "normals",
        "within_30",
        "< 30°",
        "percent",
        True,
        "share of valid pixels with an angle below 30°",
    ),
    Metric(
        "edge",
        "rmse",
        "RMSE",
        "",
        False,
        "root mean squared error in the target's unit, after one scale and shift an evaluation batch",
        primary=True,
    ),
    Metric(
        "edge",
        "ods_f",
        "ODS F",
        "percent",
        True,
        "where edges are 0/1: the best F over thresholds 0.01, 0.02, ... 0.99 on the sigmoid of the output, one for "
        "the whole set. An edge pixel is right within 0.0075 of the image's diagonal of a true one (Euclidean, many "
        "to one), a true one is found within the same of an edge pixel; nothing is thinned, so that this is not the F "
        "of the BSDS benchmark",
    ),
)
"""Every metric, a task's together and its primary one first; rows, tables and notes follow this
order.
"""


@dataclass(frozen=True)
class Task:
    """A dense-prediction task; `metric`, `unit` and direction are those of its primary metric.

    Attributes:
        name: the task's name in rows, options and targets.
        channels: output channels; None where the label space decides (semantic segmentation).
    """

    name: str
    channels: int | None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All of its metrics, the primary one first."""
        return tuple(metric for metric in METRICS if metric.task == self.name)

    @property
    def primary(self) -> Metric:
        return next(metric for metric in self.metrics if metric.primary)

    @property
    def metric(self) -> str:
        return self.primary.name

    @property
    def unit(self) -> str:
        return self.primary.unit

    @property
    def higher_is_better(self) -> bool:
        return self.primary.higher_is_better

    @property
    def lower_is_better(self) -> bool:
        return not self.higher_is_better


TASKS: dict[str, Task] = {
    task.name: task
    for task in (Task("semseg", None), Task("depth", 1), Task("normals", 3), Task("edge", 1))
}
"""Every task in canonical order."""


def canonical(names: Iterable[str]) -> tuple[str, ...]:
    """The given task names in canonical order.

    Raises:
        BenchError: a name that is no task.
    """
    wanted = set(names)
    for name in wanted - TASKS.keys():
        raise unknown("task", name, TASKS)
    return tuple(name for name in TASKS if name in wanted)


def output_channels(names: Iterable[str], classes: int) -> dict[str, int]:
    """Output channels of each task, in canonical order; `classes` is the size of the label
    space.
    """
    return {name: TASKS[name].channels or classes for name in canonical(names)}
