"""The work of cells: to adapt and score."""

from __future__ import annotations

from ttt_bench.protocols import SingleBatch
from ttt_bench.results.timed_work import Work
from ttt_bench.sweep.cell import Cell
from ttt_bench.train.work import needs_of

SCORING = 0.5
"""Time to predict and score an image, as a share of the time of an update on it. It has a part only
in a prediction for another number of steps, or another protocol, than the measured one."""


def adapting_work(cell: Cell, device: str) -> Work:
    """Return the work to adapt and score a cell; `device` is the device's name."""
    opened = cell.opened
    return Work(
        kind=f"adapting with {cell.method}",
        needs=needs_of(opened.preset.model, opened.target_data.size, device),
        likes={
            "batch": opened.preset.batch,
            "protocol": cell.protocol,
            "options": cell.config["options"],
            "signals": cell.config["signals"],
            "tasks": cell.config["tasks"],
            "domain": opened.pair.target.name,
            "steps": cell.settings.steps,
        },
        units=adapting_units(
            images=len(opened.target_data),
            first=min(opened.preset.batch, len(opened.target_data)),
            steps=cell.settings.steps if cell.moves else 0,
            single=cell.protocol == SingleBatch.name,
        ),
    )


def adapting_units(*, images: int, first: int, steps: int, single: bool) -> float:
    """Return the work to adapt and score, in updates on one image.

    Args:
        images: number of target images, which are scored at every step.
        first: number of images of the first batch.
        steps: number of updates; 0 if nothing moves, so that images are scored once.
        single: whether the updates are made on the first batch only.
    """
    updates = steps * (first if single else images)
    return updates + SCORING * images * (steps + 1)
