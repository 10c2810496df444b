"""The dense-prediction tasks: their order, outputs and metrics.

Everything that is sliced by task is sliced in `TASKS` order, by name, on source and target alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ttt_bench.errors import unknown

IGNORE = 255
"""The value that marks a pixel without a target, in every task (a real-valued target has it in every channel)."""


@dataclass(frozen=True)
class Task:
    """A dense-prediction task.

    Attributes:
        name: the task's name in rows, options and targets.
        channels: output channels; None where the label space decides (semantic segmentation).
        metric: the name of its metric in the rows.
        unit: the unit of that metric, for table heads.
        higher_is_better: the metric's direction.
    """

    name: str
    channels: int | None
    metric: str
    unit: str
    higher_is_better: bool

    @property
    def lower_is_better(self) -> bool:
        return not self.higher_is_better


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("semseg", None, "miou", "%", higher_is_better=True),
        Task("depth", 1, "rmse", "", higher_is_better=False),
        Task("normals", 3, "merr", "deg", higher_is_better=False),
        Task("edge", 1, "rmse", "", higher_is_better=False),
    )
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
    """Output channels of each task, in canonical order; `classes` is the size of the label space."""
    return {name: TASKS[name].channels or classes for name in canonical(names)}
