"""The dense-prediction tasks: their names, order and output channels.

Everything that is sliced by task is sliced in `TASKS` order, by name, on source and target alike.
`ttt_bench.metrics` holds the tasks' metrics, in one module per task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ttt_bench.errors import unknown

IGNORE = 255
"""The value of a pixel without a target, in every task.

A real-valued target has it in every channel.
"""


HUMAN_PARTS = ("background", "head", "torso", "upper arm", "lower arm", "upper leg", "lower leg")
"""The classes of `human_parts`: the six parts of ASTMT's public code, after the background."""


@dataclass(frozen=True)
class Task:
    """A dense-prediction task.

    Attributes:
        name: the task's name in rows, options and targets.
        channels: output channels; None if the label space decides (semantic segmentation).
        classes: names of the classes of a task whose classes are fixed; empty for others.
    """

    name: str
    channels: int | None
    classes: tuple[str, ...] = ()

    @property
    def needs_labels(self) -> bool:
        """Whether a label space decides on its output channels."""
        return self.channels is None

    @property
    def labelled(self) -> bool:
        """Whether its targets are class indices, and its outputs one logit per class."""
        return self.needs_labels or bool(self.classes)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("semseg", None),
        Task("depth", 1),
        Task("normals", 3),
        Task("edge", 1),
        Task("human_parts", len(HUMAN_PARTS), HUMAN_PARTS),
        Task("saliency", 1),
    )
}
"""Every task in canonical order."""

PAPER_TASKS = ("semseg", "depth", "normals", "edge")
"""The tasks of the papers. A pair has no other ones unless the setting `data.tasks` names them."""

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


def labelled(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the names that are tasks whose targets are class indices."""
    return tuple(name for name in names if name in TASKS and TASKS[name].labelled)


def class_names(name: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of a task's classes; `classes` are those of the label space."""
    return TASKS[name].classes or tuple(classes)
