"""Coverage of intervals on made experiments, with the sizes of the example.

PYTHONPATH=tests python -m support.coverage [--experiments 1000] [--seeds 3] [--images 128]

An interval covers if it contains the mean of the estimates of all experiments, which estimates
their expectation over images and seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd

from support.made_effects import Effects, Label, Sizes, image_sums
from ttt_bench.analysis.evidence import Side, difference, own
from ttt_bench.analysis.images import Images, unit_sums
from ttt_bench.analysis.replicates import chosen_of
from ttt_bench.metrics.base import metrics_of
from ttt_bench.stats.step_rules import SECTIONS
from ttt_bench.stats.trajectories import Trajectories, mean_change

LABELS = (Label("base"), Label("norm"), Label("s4t"), Label("s4t", "frozen"))
NAMES = ("base", "norm", "s4t", "s4t (frozen)")
PAIRS = (("norm", "base"), ("s4t", "base"), ("s4t", "norm"), ("s4t", "s4t (frozen)"))


def coverage(
    sizes: Sizes, effects: Effects, experiments: int, *, whole_batches: bool = True
) -> pd.DataFrame:
    """Return the share of experiments whose interval covers, by rule, rows and quantity."""
    rows = []
    for number in range(experiments):
        rng = np.random.default_rng([7, number])
        rows += list(_estimates(rng, sizes, effects, whole_batches=whole_batches))
    found = pd.concat(rows, ignore_index=True)
    groups = found.groupby(["selection", "rows", "quantity"], sort=False)
    truth = groups["mean"].transform("mean")
    covers = found["low"].le(truth) & truth.le(found["high"])
    width = found["high"] - found["low"]
    named = found.assign(covers=covers, width=width)
    return named.groupby(["selection", "rows", "quantity"], sort=False)[["covers", "width"]].mean()


def _estimates(
    rng: np.random.Generator, sizes: Sizes, effects: Effects, *, whole_batches: bool
) -> Iterator[pd.DataFrame]:
    """Yield the estimates of one made experiment."""
    observed, images = _made(rng, sizes, effects, whole_batches=whole_batches)
    for name, found in chosen_of(observed, images, "base", SECTIONS).items():
        for label in NAMES:
            yield own(Side(found, label)).assign(selection=name, rows=label)
        for first, second in PAIRS:
            frame = difference(Side(found, first), Side(found, second))
            yield frame.assign(selection=name, rows=f"{first} - {second}")


def _made(
    rng: np.random.Generator, sizes: Sizes, effects: Effects, *, whole_batches: bool
) -> tuple[Trajectories, Images]:
    sums = image_sums(rng, LABELS, sizes, effects)
    cells = [
        {
            task: unit_sums(task, values[place, seed], sizes.batch_of, whole_batches=whole_batches)
            for task, values in sums.items()
        }
        for place in range(len(LABELS))
        for seed in range(sizes.seeds)
    ]
    tasks = tuple(sums)
    scores = np.array(
        [
            [metrics_of(task).score_of_sums(cell[task].sum(axis=0)) for task in tasks]
            for cell in cells
        ]
    )
    # (C, n, T + 1) -> (C, T + 1, n)
    scores = scores.transpose(0, 2, 1)
    base = np.tile(scores[: sizes.seeds, 0], (len(LABELS), 1))
    observed = Trajectories(
        cells=pd.MultiIndex.from_product([NAMES, range(sizes.seeds)], names=["label", "seed"]),
        tasks=tasks,
        last=np.full(len(cells), sizes.steps),
        scores=scores,
        base=base,
        deltas=mean_change(scores, base[:, None], tasks),
    )
    return observed, Images(units=len(cells[0]["depth"]), cells=tuple(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--effect-of-seed", type=float, default=Effects().seed)
    given = parser.parse_args()
    sizes = Sizes(seeds=given.seeds, steps=3, images=given.images, batch=8, classes=7)
    effects = Effects(seed=given.effect_of_seed)
    found = coverage(sizes, effects, given.experiments)["covers"].unstack("quantity")
    print(found.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
