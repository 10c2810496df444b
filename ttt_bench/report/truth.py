"""Facts about the target alone: the best constant prediction and the pixels of each class."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ttt_bench.errors import DamagedError
from ttt_bench.report import classes
from ttt_bench.results import store
from ttt_bench.stats import summary
from ttt_bench.stats.comparison import Comparison


@dataclass(frozen=True)
class Truth:
    """Facts about the target that do not depend on a method.

    Attributes:
        constants: map task to the score of the best constant prediction.
        pixels: map semantic class to its pixels.
    """

    constants: dict[str, float] = field(default_factory=dict)
    pixels: dict[str, float] = field(default_factory=dict)


def truth_of(comparison: Comparison) -> Truth:
    """Return the facts about a comparison's target; empty if no cell has numbers.

    They come from the statistics of Base before adapting, or else of another cell: both give the
    same, since they depend on the truth only.
    """
    done = comparison.done
    if done.empty:
        return Truth()
    statistics = _statistics(done if comparison.base is None else _first(done, comparison.base))
    if statistics is None:
        return Truth()
    pixels = classes.named(summary.class_pixels(statistics), comparison.classes)
    return Truth(summary.constant_predictor(statistics), pixels)


def _first(cells: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return the cells with those of a label at the start."""
    return cells.sort_values("label", key=lambda labels: labels != label, kind="stable")


def _statistics(cells: pd.DataFrame) -> pd.DataFrame | None:
    """Return the statistics of the first cell whose file is whole; None without any."""
    for folder in cells["folder"]:
        with suppress(DamagedError):
            return store.read_table(Path(folder), "statistics", step=0)
    return None
