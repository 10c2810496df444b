"""The dense-prediction tasks: their names, order and output channels.

Everything that is sliced by task is sliced in `TASKS` order, by name, on source and target alike.
`ttt_bench.metrics` holds the tasks' metrics, in one module per task.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ttt_bench.errors import unknown

IGNORE = 255
"""The value of a pixel without a target, in every task.

A real-valued target has it in every channel.
"""


@dataclass(frozen=True)
class Task:
    """A dense-prediction task.

    Attributes:
        name: the task's name in rows, options and targets.
        channels: output channels; None if the label space decides (semantic segmentation).
    """

    name: str
    channels: int | None

    @property
    def needs_labels(self) -> bool:
        """Whether a label space decides on its output channels."""
        return self.channels is None


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("semseg", None),
        Task("depth", 1),
        Task("normals", 3),
        Task("edge", 1),
    )
}
"""Every task in canonical order."""

WEIGHTED, TASKONOMY = "weighted", "taskonomy"
RECIPES = (WEIGHTED, TASKONOMY)
"""Names of the ways to train a source model; `ttt_bench.losses.RECIPES` holds their losses."""


def canonical(names: Iterable[str]) -> tuple[str, ...]:
    """Return the given task names in canonical order, each once.

    Raises:
        BenchError: a name is not a task's.
    """
    wanted = set(names)
    for name in wanted - TASKS.keys():
        raise unknown("task", name, TASKS)
    return tuple(name for name in TASKS if name in wanted)


def output_channels(names: Iterable[str], classes: int) -> dict[str, int]:
    """Return the output channels of each task, in canonical order.

    Args:
        names: the tasks.
        classes: number of classes of the label space.
    """
    return {name: TASKS[name].channels or classes for name in canonical(names)}
