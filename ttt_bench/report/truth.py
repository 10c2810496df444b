"""Facts about the target alone: the best constant prediction and the pixels of each class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

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
    preferred = done if comparison.base is None else done[done["label"] == comparison.base]
    statistics = store.read_table(Path(preferred["folder"].iloc[0]), "statistics", step=0)
    pixels = classes.named(summary.class_pixels(statistics), comparison.classes)
    return Truth(summary.constant_predictor(statistics), pixels)
