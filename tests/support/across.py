"""Numbers of comparisons as records, without a results folder."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ttt_bench.analysis.across.numbers import Numbers
from ttt_bench.stats.comparison import Key
from ttt_bench.stats.step_rules import DELTA, SECTIONS

PAIR = "taskonomy:nyud"
TASKS = ("semseg", "depth", "normals", "edge")


def numbers(
    deltas: Mapping[str, float],
    *,
    half: float = 1.0,
    noise: float = 0.0,
    others: bool = False,
    tasks: tuple[str, ...] = TASKS,
    **choices: str,
) -> Numbers:
    """Return the numbers of a comparison from the Delta_TTT of each label.

    Args:
        half: half-width of each interval.
        noise: standard deviation of the draws.
    """
    names = dict.fromkeys(Key._fields, "") | {"pair": PAIR, "protocol": "online"} | choices
    rng = np.random.default_rng(0)
    draws = {label: value + noise * rng.normal(size=200) for label, value in deltas.items()}
    rows = [
        {"label": label, "quantity": DELTA, "mean": value, "sd": 0.0}
        | {"low": value - half, "high": value + half, "seeds": 3}
        for label, value in deltas.items()
    ]
    frame = pd.DataFrame(rows)
    return Numbers(
        key=Key(**names),
        others=others,
        tasks=tasks,
        methods={label: label.partition(" (")[0] for label in deltas},
        unranked=frozenset(label for label in deltas if "frozen" in label),
        estimates={rule.name: frame for rule in SECTIONS},
        draws={rule.name: draws for rule in SECTIONS},
        manifest={},
    )
