"""A results folder made of numbers that can be followed by hand, written with the store's own
code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ttt_bench.results import store
from ttt_bench.results.load import load
from ttt_bench.stats.comparison import Comparison, comparisons
from ttt_bench.tasks import TASKS

CLASSES = ("wall", "box", "lamp")
PAIR = "rooms:rooms-mix"
ALL_TASKS = ("semseg", "depth", "normals", "edge")
BASE = {"semseg": 20.0, "depth": 0.8, "normals": 40.0, "edge": 0.2}
IDENTITY = {
    "pair": PAIR,
    "control": "none",
    "hparams": "paper",
    "settings": "",
    "preset": "quick",
    "protocol": "episodic",
    "data_variant": "corrected",
    "seed": 0,
    "steps": 3,
}

Trajectories = dict[str, list[float]]


def constant(scores: dict[str, float], steps: int = 3) -> Trajectories:
    """The same score at every step."""
    return {task: [value] * (steps + 1) for task, value in scores.items()}


def gains(*percent: float, base: dict[str, float] | None = None) -> Trajectories:
    """Every task better than Base by so many percent at steps 0, 1, ...: Delta_TTT is that
    number.
    """
    base = base or BASE
    return {
        task: [
            value * (1 + (1 if TASKS[task].higher_is_better else -1) * gain / 100)
            for gain in percent
        ]
        for task, value in base.items()
    }


def add_cell(
    root: Path,
    method: str,
    trajectories: Trajectories | None = None,
    *,
    config: str = "c0",
    state: str = "done",
    reason: str = "",
    finished: str = "2025-01-01T10:00:00+00:00",
    manifest: dict[str, Any] | None = None,
    statistics: pd.DataFrame | None = None,
    examples: dict[str, np.ndarray] | None = None,
    **identity: Any,
) -> Path:
    """Write one cell; `trajectories`: task -> scores of steps 0, 1, ..."""
    own: dict[str, Any] = {**IDENTITY, "method": method, **identity}
    if trajectories is not None:
        own["steps"] = len(next(iter(trajectories.values()))) - 1
    whole = {
        "schema_version": store.SCHEMA_VERSION,
        **own,
        "state": state,
        "reason": reason,
        "optimiser": {"optimiser": "sgd", "lr": 1e-3, "momentum": 0.0, "weight_decay": 1e-6},
        "scoring": {
            "depth": "one scale and shift a batch, metres",
            "edge": "one scale and shift a batch",
        },
        "notices": [],
        "classes": list(CLASSES),
        "source_model": "base",
        **(manifest or {}),
    }
    rows = None if trajectories is None else rows_of(own, trajectories, config)
    if rows is not None and statistics is None:
        statistics = statistics_frame()
    folder = store.cell_folder(root, own["pair"], method, config)
    store.write_cell(
        folder, store.CellFiles(whole, {"finished": finished}, rows, statistics, None, examples)
    )
    return folder


def rows_of(identity: dict[str, Any], trajectories: Trajectories, config: str) -> pd.DataFrame:
    """Rows of every metric: a task's second one has twice the value of the first, and so on; `iou`
    three times it.

    Of `iou` the second class has one more and the third two more than the first.
    """
    records = [
        {
            **identity,
            "step": step,
            "task": task,
            "metric": metric.name,
            "class": label,
            "value": (1 + place) * value + index,
            "n": 16,
            "config": config,
            "schema_version": store.SCHEMA_VERSION,
        }
        for task, values in trajectories.items()
        for step, value in enumerate(values)
        for place, metric in enumerate(TASKS[task].metrics)
        for index, label in enumerate(CLASSES if metric.per_class else ("",))
    ]
    return pd.DataFrame(records)[list(store.ROW_COLUMNS)]


def statistics_frame() -> pd.DataFrame:
    """Two batches of one image each at step 0; the truths by hand.

    semseg, 3 classes: 60 and 20 pixels of class 0, 10 and 10 of class 1, none of class 2. Depth:
    (1, 3) and (2, 2, 5). Edge: (0, 1) and (0, 0, 0). All predictions are wrong in a way that must
    not matter.
    """

    def sums(truth: list[float]) -> list[float]:
        t, p = np.array(truth), np.arange(len(truth), dtype=float)
        return [
            float(x)
            for x in (len(t), p.sum(), t.sum(), (p * p).sum(), (t * t).sum(), (p * t).sum())
        ]

    values: list[tuple[int, str, list[float]]] = [
        (0, "semseg", [30.0, 30.0, 0.0, 5.0, 3.0, 2.0, 0.0, 0.0, 0.0]),
        (1, "semseg", [0.0, 20.0, 0.0, 10.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        (0, "depth", sums([1, 3])),
        (1, "depth", sums([2, 2, 5])),
        (0, "edge", sums([0, 1])),
        (1, "edge", sums([0, 0, 0])),
        (0, "normals", [10.0, 400.0]),
        (1, "normals", [10.0, 400.0]),
    ]
    return pd.DataFrame(
        [{"step": 0, "batch": b, "image": b, "task": t, "values": v} for b, t, v in values]
    )


def example_images(shift: float = 0.0, count: int = 2, size: int = 24) -> dict[str, np.ndarray]:
    """Images of a box on a slope, with predictions that are off by `shift`."""
    row, column = np.mgrid[0:size, 0:size] / size
    box = (np.abs(row - 0.5) < 0.2) & (np.abs(column - 0.5) < 0.25)
    depth = np.where(box, 1.0, 1.0 + 2 * row)
    edge = (
        np.abs(np.gradient(box.astype(float))[0]) + np.abs(np.gradient(box.astype(float))[1]) > 0
    ).astype(float)
    normals = np.stack([np.where(box, 0.0, 0.6), np.zeros_like(row), np.where(box, 1.0, -0.8)])
    image = (255 * np.stack([row, column, box * 0.8], axis=-1)).astype(np.uint8)
    labels = np.where(row < 0.1, 255, box.astype(int)).astype(np.uint8)
    rng = np.random.default_rng(0)
    noise = shift * rng.normal(size=row.shape)
    truth = {
        "semseg": labels,
        "depth": np.where(row > 0.9, 255, depth),
        "normals": normals,
        "edge": edge,
    }
    prediction = {
        "semseg": np.where(noise > shift, 2, box).astype(np.uint8),
        "depth": 0.1 * depth + 5 + 0.1 * noise,
        "normals": normals + noise,
        "edge": edge * 0.5 + 0.1 * np.abs(noise),
    }
    stacked = {
        f"{kind}_{task}": np.stack([values] * count).astype(
            np.uint8 if task == "semseg" else np.float16
        )
        for kind, tasks in (("truth", truth), ("prediction", prediction))
        for task, values in tasks.items()
    }
    return {"indices": np.arange(count) * 7, "image": np.stack([image] * count), **stacked}


def build(root: Path) -> Path:
    """Three seeds of base, norm and tent; s4t as it is and with a setting; one diverged cell, one
    that cannot run.

    Delta_TTT by hand. tent: oracle 10, 12, 14 (steps 2, 2, 1), fixed 8, 9, 4. norm: 5 at every
    step. s4t: oracle 20 at step 3, which is also the last, in seed 0 alone. s4t (mask_ratio=0.5):
    1, then 2, then 3.
    """
    for seed in (0, 1, 2):
        scale = {task: value * (1 + 0.01 * seed) for task, value in BASE.items()}
        add_cell(
            root, "base", constant(scale), config=f"b{seed}", seed=seed,
            manifest={"optimiser": None, "notices": ["one class of semseg never occurs in the target"]},
            examples=example_images(1.0) if seed == 0 else None,
        )  # fmt: skip
        add_cell(root, "norm", gains(5, 5, 5, 5, base=scale), config=f"n{seed}", seed=seed,
                 examples=example_images(0.5) if seed == 0 else None)  # fmt: skip
        steps = [(1, 6, 10, 8), (1, 7, 12, 9), (1, 14, 6, 4)][seed]
        add_cell(root, "tent", gains(*steps, base=scale), config=f"t{seed}", seed=seed,
                 examples=example_images(0.3) if seed == 0 else None)  # fmt: skip
    own = {
        "source_model": "s4t",
        "own_source_scores": {task: values[0] for task, values in gains(8).items()},
    }
    add_cell(
        root, "s4t", gains(4, 10, 15, 20), config="s0", manifest=own, examples=example_images(0.1)
    )
    add_cell(
        root,
        "s4t",
        config="s1",
        seed=1,
        state="diverged",
        reason="loss not finite at batch 2, step 3",
    )
    variant = {"settings": "s4t.mask_ratio=0.5; steps=3", "config": "m0"}
    add_cell(root, "s4t", gains(0, 1, 2, 3), **variant)
    for seed in (0, 1):
        why = "needs normals, which the target lacks"
        add_cell(root, "tipi", config=f"i{seed}", seed=seed, state="not_applicable", reason=why)
    return root


def compared(root: Path) -> list[Comparison]:
    """The comparisons of a results folder."""
    loaded = load(root)
    return comparisons(loaded.cells, loaded.rows)
